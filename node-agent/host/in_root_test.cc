// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/in_root.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

class OpenInRootTest : public ::testing::Test {
 protected:
  OpenInRootTest() {
    tree_.Write("secret", "the host's\n");
    tree_.Write("root/run/libvirt/sock", "the pod's\n");
    auto root = OpenDirectory(tree_.path("root"));
    EXPECT_TRUE(root.ok());
    if (root) root_ = *std::move(root);
  }
  void Link(const std::string& to, const std::string& name) const {
    std::filesystem::create_directories(std::filesystem::path(tree_.path(name)).parent_path());
    std::filesystem::create_symlink(to, tree_.path(name));
  }
  // What is read there, or the error's code.
  std::string Read(const std::string& path) const {
    const auto fd = OpenInRoot(root_, path, O_RDONLY);
    if (!fd) return std::string(Name(fd.error().code()));
    std::array<char, 64> buffer{};
    const ssize_t got = read(fd->get(), buffer.data(), buffer.size());
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }

  TemporaryTree tree_;
  Fd root_;
};

TEST_F(OpenInRootTest, OpensWhatIsThere) {
  EXPECT_EQ(Read("run/libvirt/sock"), "the pod's\n");
  EXPECT_EQ(Read("/run/libvirt/sock"), "the pod's\n") << "absolute is below the root";
  EXPECT_EQ(Read("run/none"), "gone");
  const auto fd = OpenInRoot(root_, "run", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(fd.ok()) << fd.error().message();
  EXPECT_NE(fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(OpenInRootTest, AnAbsoluteLinkStaysInside) {
  Link("/run", "root/var/run");
  EXPECT_EQ(Read("var/run/libvirt/sock"), "the pod's\n");
  Link(tree_.path("secret"), "root/run/libvirt/planted");
  EXPECT_EQ(Read("run/libvirt/planted"), "gone") << "there is no such file in the root";
  tree_.Write("root" + tree_.path("secret"), "inside\n");
  EXPECT_EQ(Read("run/libvirt/planted"), "inside\n") << "but this one";
}

TEST_F(OpenInRootTest, TheWayUpEndsAtTheRoot) {
  EXPECT_EQ(Read("../secret"), "gone");
  EXPECT_EQ(Read("run/../../../secret"), "gone");
  Link("../../../secret", "root/run/libvirt/up");
  EXPECT_EQ(Read("run/libvirt/up"), "gone");
  EXPECT_EQ(Read("../../run/libvirt/sock"), "the pod's\n");
}

TEST_F(OpenInRootTest, RefusesMagicLinksLoopsAndNul) {
  Link("loop", "root/loop");
  EXPECT_EQ(Read("loop"), "invalid");
  EXPECT_EQ(Read(std::string("run\0x", 5)), "invalid");
  const auto proc = OpenDirectory(Roots().proc);
  ASSERT_TRUE(proc.ok());
  const auto magic = OpenInRoot(*proc, "self/root", O_PATH);
  ASSERT_FALSE(magic.ok());
  EXPECT_EQ(magic.error().code(), Code::kInvalid) << magic.error().message();
}

TEST_F(OpenInRootTest, AnErrorCanBeShown) {
  const auto fd = OpenInRoot(root_, "a\x1b[2J", O_RDONLY);
  EXPECT_NE(fd.error().message().find("a\\x1b[2J"), std::string::npos) << fd.error().message();
}

// From here on openat2 answers this thread as a kernel without it does.
bool TakeOpenat2Away() {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST_F(OpenInRootTest, WithoutOpenat2NothingIsOpenedAndTheErrorSaysWhy) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!TakeOpenat2Away()) _exit(3);
    const auto fd = OpenInRoot(root_, "run/libvirt/sock", O_RDONLY);
    if (fd.ok()) _exit(1);
    const bool clear = fd.error().code() == Code::kUnavailable &&
                       fd.error().message().find("openat2") != std::string::npos;
    _exit(clear ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: opened, 2: another error";
}

}  // namespace
}  // namespace ullage::host
