// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/hook_install.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::clients {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// This test holds the mark too: it is linked with the installer.
class HookInstallTest : public testing::Test {
 protected:
  std::string Content(const std::string& below) {
    const auto content = host::ReadFile(tree_.path(below), 4096);
    return content ? *content : content.error().message();
  }
  Result<std::string> Install() { return InstallHook("/proc/self/exe", hooks_); }

  host::TemporaryTree tree_;
  const std::string hooks_ = tree_.path("libvirt/hooks");
};

TEST_F(HookInstallTest, InstallsWhereNoneIsReplacesItselfAndLeaves) {
  const auto done = Install();
  ASSERT_TRUE(done.ok()) << done.error().message();
  EXPECT_THAT(*done, HasSubstr("installed as " + hooks_ + "/qemu"));
  EXPECT_THAT(*done, HasSubstr("reload"));
  struct stat found {};
  ASSERT_EQ(stat((hooks_ + "/qemu").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0755u);
  EXPECT_THAT(Content("libvirt/hooks/qemu"), StartsWith("#!/bin/sh\n"));
  ASSERT_EQ(stat((hooks_ + "/ullage-libvirt-hook").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0755u);
  EXPECT_TRUE(Install().ok());
  EXPECT_FALSE(std::filesystem::exists(hooks_ + "/qemu.d"));
  const auto gone = UninstallHook(hooks_);
  ASSERT_TRUE(gone.ok());
  EXPECT_TRUE(std::filesystem::is_empty(hooks_));
}

// In an older installation the program itself stands where the script belongs.
TEST_F(HookInstallTest, ReplacesAProgramInstalledAsTheHook) {
  std::filesystem::create_directories(hooks_ + "/qemu.d");
  for (const char* place : {"/qemu", "/qemu.d/ullage"}) {
    std::filesystem::copy_file("/proc/self/exe", hooks_ + place);
    ASSERT_TRUE(Install().ok());
    EXPECT_THAT(Content(std::string("libvirt/hooks") + place), StartsWith("#!/bin/sh\n"));
    EXPECT_TRUE(std::filesystem::exists(hooks_ + "/ullage-libvirt-hook"));
    ASSERT_TRUE(UninstallHook(hooks_).ok());
    EXPECT_TRUE(std::filesystem::is_empty(hooks_));
    std::filesystem::create_directories(hooks_ + "/qemu.d");
  }
}

TEST_F(HookInstallTest, LeavesAProgramOfThatNameAlone) {
  tree_.Write("libvirt/hooks/ullage-libvirt-hook", "theirs");
  const auto done = Install();
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code(), Code::kExists);
  EXPECT_FALSE(std::filesystem::exists(hooks_ + "/qemu"));
  EXPECT_THAT(*UninstallHook(hooks_), HasSubstr("nothing of ours"));
  EXPECT_EQ(Content("libvirt/hooks/ullage-libvirt-hook"), "theirs");
}

TEST_F(HookInstallTest, StandsBesideAnotherHook) {
  tree_.Write("libvirt/hooks/qemu", "#!/bin/sh\n");
  const auto done = Install();
  ASSERT_TRUE(done.ok()) << done.error().message();
  EXPECT_THAT(*done, HasSubstr("qemu.d/ullage, beside"));
  EXPECT_EQ(Content("libvirt/hooks/qemu"), "#!/bin/sh\n");
  EXPECT_TRUE(Install().ok());
  ASSERT_TRUE(UninstallHook(hooks_).ok());
  EXPECT_EQ(Content("libvirt/hooks/qemu"), "#!/bin/sh\n");
  EXPECT_FALSE(std::filesystem::exists(hooks_ + "/qemu.d"));
}

TEST_F(HookInstallTest, NeverOverwritesSomebodyElsesFile) {
  tree_.Write("libvirt/hooks/qemu", "theirs");
  tree_.Write("libvirt/hooks/qemu.d/ullage", "theirs too");
  const auto done = Install();
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code(), Code::kExists);
  EXPECT_THAT(done.error().message(), HasSubstr("left alone"));
  EXPECT_EQ(Content("libvirt/hooks/qemu.d/ullage"), "theirs too");
  EXPECT_THAT(*UninstallHook(hooks_), HasSubstr("nothing of ours"));
  EXPECT_EQ(Content("libvirt/hooks/qemu"), "theirs");
}

TEST_F(HookInstallTest, AHookThatIsALinkIsSomebodyElses) {
  tree_.Write("script", "#!/bin/sh\n");
  std::filesystem::create_directories(hooks_);
  std::filesystem::create_symlink(tree_.path("script"), hooks_ + "/qemu");
  ASSERT_TRUE(Install().ok());
  EXPECT_TRUE(std::filesystem::is_symlink(hooks_ + "/qemu"));
  EXPECT_TRUE(std::filesystem::exists(hooks_ + "/qemu.d/ullage"));
}

TEST_F(HookInstallTest, OnceAsideAlwaysAside) {
  tree_.Write("libvirt/hooks/qemu", "theirs");
  ASSERT_TRUE(Install().ok());
  tree_.Remove("libvirt/hooks/qemu");
  ASSERT_TRUE(Install().ok());
  EXPECT_FALSE(std::filesystem::exists(hooks_ + "/qemu"));
}

TEST_F(HookInstallTest, NothingToUninstallIsNoError) {
  EXPECT_TRUE(UninstallHook(tree_.path("nowhere")).ok());
}

}  // namespace
}  // namespace ullage::clients
