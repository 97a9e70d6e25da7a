// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/unix_socket.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

using testing::HasSubstr;

Fd Listen(const std::string& path) {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  return fd;
}

TEST(CheckSocketPath, TakesWhatTheKernelTakes) {
  EXPECT_TRUE(CheckSocketPath("/run/a.sock", 107).ok());
  EXPECT_TRUE(CheckSocketPath("/" + std::string(106, 'x'), 107).ok());
  for (const std::string& path : {std::string(), std::string("a.sock"), std::string("/run/"),
                                  std::string("/a\0b", 4), "/" + std::string(107, 'x')}) {
    const Status fit = CheckSocketPath(path, 107);
    ASSERT_FALSE(fit.ok()) << path;
    EXPECT_EQ(fit.error().code(), Code::kInvalid);
  }
}

TEST(CheckSocketFree, OnlyNothingOrADeadSocketIsFree) {
  const TemporaryTree tree;
  const std::string path = tree.path("s");
  EXPECT_TRUE(CheckSocketFree(path, "another cask").ok());
  {
    const Fd live = Listen(path);
    const Status taken = CheckSocketFree(path, "another cask");
    ASSERT_FALSE(taken.ok());
    EXPECT_EQ(taken.error().code(), Code::kExists);
    EXPECT_THAT(taken.error().message(), HasSubstr("another cask answers on " + path));
  }
  EXPECT_TRUE(CheckSocketFree(path, "another cask").ok());
  tree.Remove("s");
  tree.Write("s", "precious");
  EXPECT_EQ(CheckSocketFree(path, "another cask").error().code(), Code::kExists);
  std::filesystem::create_symlink(path, tree.path("link"));
  EXPECT_EQ(CheckSocketFree(tree.path("link"), "another cask").error().code(), Code::kExists);
}

TEST(FolderOf, KeepsTheRoot) {
  EXPECT_EQ(FolderOf("/a"), "/");
  EXPECT_EQ(FolderOf("/run/a"), "/run");
}

}  // namespace
}  // namespace ullage::host
