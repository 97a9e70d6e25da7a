// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/hook_socket.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <thread>

#include "node-agent/host/temporary_tree.h"

namespace ullage::hooks {
namespace {

using testing::HasSubstr;

host::Fd Listen(const std::string& path) {
  host::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  return fd;
}

class HookSocketTest : public testing::Test {
 protected:
  std::string Taken() {
    const auto turn = TakeTurnIn(tree_.path());
    EXPECT_TRUE(turn.ok()) << (turn.ok() ? "" : turn.error().message());
    return turn.ok() ? turn->path : "";
  }
  host::TemporaryTree tree_;
  const std::string first_ = tree_.path("ullage.sock");
};

TEST_F(HookSocketTest, PutsNothingButTheSocketIntoTheFolder) {
  EXPECT_EQ(Taken(), first_);
  EXPECT_TRUE(std::filesystem::is_empty(tree_.path()));
}

TEST_F(HookSocketTest, ADeadSocketsNameIsTakenAgain) {
  { const host::Fd died = Listen(first_); }
  ASSERT_TRUE(std::filesystem::exists(first_));
  EXPECT_EQ(Taken(), first_);
}

TEST_F(HookSocketTest, ALiveSocketIsLeftAlone) {
  const host::Fd live = Listen(first_);
  const auto refused = TakeTurn(first_);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kExists);
  EXPECT_THAT(refused.error().message(), HasSubstr("another hook answers on " + first_));
  EXPECT_EQ(Taken(), tree_.path("ullage-2.sock"));
  EXPECT_TRUE(std::filesystem::exists(first_));
}

TEST_F(HookSocketTest, SoIsWhatIsNoSocket) {
  tree_.Write("ullage.sock", "precious");
  EXPECT_EQ(TakeTurn(first_).error().code(), Code::kExists);
  EXPECT_EQ(Taken(), tree_.path("ullage-2.sock"));
  EXPECT_EQ(std::filesystem::file_size(first_), 8u);
}

TEST_F(HookSocketTest, NamesEnd) {
  tree_.Write("ullage.sock", "");
  for (int i = 2; i <= 9; ++i) tree_.Write("ullage-" + std::to_string(i) + ".sock", "");
  EXPECT_EQ(TakeTurnIn(tree_.path()).error().code(), Code::kExists);
}

TEST_F(HookSocketTest, WaitsForItsTurn) {
  auto turn = TakeTurn(first_);
  ASSERT_TRUE(turn.ok());
  std::string second;
  std::thread other([&] { second = Taken(); });
  const host::Fd live = Listen(first_);
  turn->lock = host::Fd();
  other.join();
  EXPECT_EQ(second, tree_.path("ullage-2.sock"));
}

TEST_F(HookSocketTest, RefusesPathsThatNoSocketCanHave) {
  for (const std::string& path : {std::string(), std::string("relative"), tree_.path() + "/",
                                  tree_.path(std::string(120, 'x'))}) {
    EXPECT_EQ(TakeTurn(path).error().code(), Code::kInvalid) << path;
  }
  const auto nowhere = TakeTurnIn(tree_.path("absent"));
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.error().code(), Code::kGone);
  EXPECT_THAT(nowhere.error().message(), HasSubstr("the folder of the socket"));
}

}  // namespace
}  // namespace ullage::hooks
