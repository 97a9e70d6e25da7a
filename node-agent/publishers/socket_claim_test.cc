// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/socket_claim.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;

host::Fd Bind(const std::string& path, bool listening) {
  host::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  if (listening && listen(fd.get(), 1) != 0) return {};
  return fd;
}

class SocketClaimTest : public testing::Test {
 protected:
  host::TemporaryTree tree_;
  const std::string path_ = tree_.path("run/ullage/agent.sock");
};

TEST_F(SocketClaimTest, PublishesWithMode0600AndCleansUp) {
  {
    auto claim = SocketClaim::Take(path_);
    ASSERT_TRUE(claim.ok()) << claim.error().message();
    const host::Fd fd = Bind(claim->staging_path(), true);
    ASSERT_TRUE(fd.valid());
    EXPECT_FALSE(std::filesystem::exists(path_));
    ASSERT_TRUE(claim->Publish().ok());
    struct stat found {};
    ASSERT_EQ(lstat(path_.c_str(), &found), 0);
    EXPECT_TRUE(S_ISSOCK(found.st_mode));
    EXPECT_EQ(found.st_mode & 07777, 0600u);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  int left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(tree_.path("run/ullage"))) {
    EXPECT_EQ(entry.path().filename(), "agent.sock.lock");
    ++left;
  }
  EXPECT_EQ(left, 1);
}

TEST_F(SocketClaimTest, RefusesALiveSocket) {
  std::filesystem::create_directories(tree_.path("run/ullage"));
  const host::Fd other = Bind(path_, true);
  const auto claim = SocketClaim::Take(path_);
  ASSERT_FALSE(claim.ok());
  EXPECT_EQ(claim.error().code(), Code::kExists);
  EXPECT_THAT(claim.error().message(), HasSubstr("another agent answers on " + path_));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(SocketClaimTest, ReplacesAStaleSocket) {
  std::filesystem::create_directories(tree_.path("run/ullage"));
  { const host::Fd died = Bind(path_, true); }
  ASSERT_TRUE(std::filesystem::exists(path_));
  auto claim = SocketClaim::Take(path_);
  ASSERT_TRUE(claim.ok()) << claim.error().message();
  const host::Fd fd = Bind(claim->staging_path(), true);
  EXPECT_TRUE(claim->Publish().ok());
}

TEST_F(SocketClaimTest, LeavesWhatIsNoSocketAlone) {
  tree_.Write("run/ullage/agent.sock", "precious");
  const auto claim = SocketClaim::Take(path_);
  ASSERT_FALSE(claim.ok());
  EXPECT_EQ(claim.error().code(), Code::kExists);
  EXPECT_THAT(claim.error().message(), HasSubstr("no socket"));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(SocketClaimTest, LeavesASymbolicLinkAlone) {
  tree_.Write("elsewhere", "precious");
  std::filesystem::create_directories(tree_.path("run/ullage"));
  std::filesystem::create_symlink(tree_.path("elsewhere"), path_);
  EXPECT_FALSE(SocketClaim::Take(path_).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

TEST_F(SocketClaimTest, TheLockKeepsASecondAgentOutBeforeEitherListens) {
  const auto first = SocketClaim::Take(path_);
  ASSERT_TRUE(first.ok());
  const auto second = SocketClaim::Take(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kExists);
  EXPECT_THAT(second.error().message(), HasSubstr("another agent"));
}

TEST_F(SocketClaimTest, DoesNotRemoveASocketThatIsNoLongerOurs) {
  auto claim = SocketClaim::Take(path_);
  ASSERT_TRUE(claim.ok());
  const host::Fd fd = Bind(claim->staging_path(), true);
  ASSERT_TRUE(claim->Publish().ok());
  std::filesystem::rename(path_, path_ + ".old");  // keeps the inode, so it is not used again
  tree_.Write("run/ullage/agent.sock", "somebody else's");
  { const SocketClaim gone = *std::move(claim); }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(SocketClaimTest, RefusesPathsThatNoSocketCanHave) {
  for (const std::string& path : {std::string(), std::string("relative.sock"), std::string("/run/"),
                                  tree_.path(std::string(120, 'x')), std::string("/tmp/a\0b", 8)}) {
    const auto claim = SocketClaim::Take(path);
    ASSERT_FALSE(claim.ok()) << path;
    EXPECT_EQ(claim.error().code(), Code::kInvalid);
  }
  const auto long_path = SocketClaim::Take("/tmp/" + std::string(103, 'x'));
  ASSERT_FALSE(long_path.ok());
  EXPECT_THAT(long_path.error().message(), HasSubstr("107"));
}

}  // namespace
}  // namespace ullage::publishers
