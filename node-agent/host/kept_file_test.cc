// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/kept_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <optional>
#include <string>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

TEST(KeptFile, IsReadAnewEachTime) {
  const TemporaryTree tree;
  tree.Write("f", "a longer text\n");
  const auto file = KeptFile::OpenAt(AT_FDCWD, tree.path("f").c_str());
  ASSERT_TRUE(file.ok());
  std::array<char, 64> buffer{};
  EXPECT_EQ(*file->Read(buffer, "f"), "a longer text\n");
  tree.Write("f", "short\n");
  EXPECT_EQ(*file->Read(buffer, "f"), "short\n") << "nothing is left of the longer one";
}

TEST(KeptFile, IsGoneWithItsNameAlsoWhenThatIsTakenAgain) {
  const TemporaryTree tree;
  tree.Write("f", "1\n");
  const auto file = KeptFile::OpenAt(AT_FDCWD, tree.path("f").c_str());
  ASSERT_TRUE(file.ok());
  tree.Remove("f");
  tree.Write("f", "2\n");
  std::array<char, 64> buffer{};
  EXPECT_EQ(file->Read(buffer, "f").error().code(), Code::kGone);
  EXPECT_EQ(KeptFile::OpenAt(AT_FDCWD, tree.path("g").c_str()).error().code(), Code::kGone);
}

TEST(KeptFile, TakesNoTextThatMayBeCut) {
  const TemporaryTree tree;
  tree.Write("f", "12345678");
  const auto file = KeptFile::OpenAt(AT_FDCWD, tree.path("f").c_str());
  ASSERT_TRUE(file.ok());
  std::array<char, 9> enough{};
  EXPECT_EQ(*file->Read(enough, "f"), "12345678");
  std::array<char, 8> full{};
  EXPECT_EQ(file->Read(full, "f").error().message(), "f: longer than 7 bytes");
}

TEST(KeptFile, FollowsTheKernelsFiles) {
  const std::string path = Roots().proc + "/self/comm";
  std::optional<KeptFile> kept;
  std::array<char, 64> buffer{};
  const std::string before(*ReadKept(kept, path, buffer));
  ASSERT_EQ(pthread_setname_np(pthread_self(), "another"), 0);
  EXPECT_EQ(*ReadKept(kept, path, buffer), "another\n");
  pthread_setname_np(pthread_self(), before.substr(0, before.find('\n')).c_str());
}

TEST(ReadKept, FindsWhatHasTakenThePlace) {
  const TemporaryTree tree;
  std::optional<KeptFile> kept;
  std::array<char, 64> buffer{};
  const std::string path = tree.path("f");
  EXPECT_EQ(ReadKept(kept, path, buffer).error().code(), Code::kGone);
  tree.Write("f", "1\n");
  EXPECT_EQ(*ReadKept(kept, path, buffer), "1\n");
  tree.Remove("f");
  EXPECT_EQ(ReadKept(kept, path, buffer).error().code(), Code::kGone);
  EXPECT_FALSE(kept);
  tree.Write("f", "2\n");
  EXPECT_EQ(*ReadKept(kept, path, buffer), "2\n");
}

}  // namespace
}  // namespace ullage::host
