// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

TEST(ReadFile, SaysWhatIsWrong) {
  const TemporaryTree tree;
  tree.Write("a", "hello\n");
  EXPECT_EQ(*ReadFile(tree.path("a"), 16), "hello\n");
  EXPECT_EQ(ReadFile(tree.path("b"), 16).error().code(), Code::kGone);
  EXPECT_EQ(ReadFile(tree.path("a"), 3).error().code(), Code::kInvalid) << "longer than allowed";
  EXPECT_NE(ReadFile(tree.path("b"), 16).error().message().find(tree.path("b")), std::string::npos);
}

TEST(FromErrno, CanBeShown) {
  const TemporaryTree tree;
  EXPECT_NE(OpenDirectory(tree.path("a\xff\x1b[2J")).error().message().find("a\\xff\\x1b[2J"),
            std::string::npos);
}

TEST(ReadFileAt, SaysGoneWhenTheFolderVanished) {
  const TemporaryTree tree;
  tree.Write("group/memory.current", "1\n");
  const auto folder = OpenDirectory(tree.path("group"));
  ASSERT_TRUE(folder.ok());
  tree.Remove("group");
  EXPECT_EQ(ReadFileAt(folder->get(), "memory.current", 64).error().code(), Code::kGone);
}

TEST(ReplaceFile, ReplacesWholeAndKeepsTheMode) {
  const TemporaryTree tree;
  ASSERT_TRUE(ReplaceFile(tree.path("f"), "one", 0600).ok());
  ASSERT_TRUE(ReplaceFile(tree.path("f"), "two", 0600).ok());
  EXPECT_EQ(*ReadFile(tree.path("f"), 16), "two");
  struct stat status {};
  ASSERT_EQ(stat(tree.path("f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(ReadFile(tree.path("f.new"), 16).error().code(), Code::kGone);
  EXPECT_EQ(ReplaceFile(tree.path("no/f"), "x", 0600).error().code(), Code::kGone);
}

TEST(MakeDirectories, MakesEachPart) {
  const TemporaryTree tree;
  EXPECT_TRUE(MakeDirectories(tree.path("a/b/c"), 0755).ok());
  EXPECT_TRUE(MakeDirectories(tree.path("a/b/c"), 0755).ok());
  EXPECT_TRUE(std::filesystem::is_directory(tree.path("a/b/c")));
}

TEST(Inode, TellsTwoFoldersOfOneNameApart) {
  const TemporaryTree tree;
  tree.Write("g/x", "");
  const auto before = OpenDirectory(tree.path("g"));
  tree.Remove("g");
  tree.Write("g/x", "");
  const auto after = OpenDirectory(tree.path("g"));
  EXPECT_NE(*Inode(*before), *Inode(*after));
}

}  // namespace
}  // namespace ullage::host
