// SPDX-License-Identifier: Apache-2.0
// The working set's probes on kernels that have what they need, in guests of their own: the machine
// that runs the tests need not have it. Each guest's only program is the probe's; QEMU is started
// here, for there is nothing in such a guest that a lab could talk to.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/guest/lab.h"
#include "tests/guest/tap.h"

namespace ullage::tests {
namespace {

class WorkingSetTest : public testing::Test {
 protected:
  WorkingSetTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "ullage-probe-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = pattern;
  }
  ~WorkingSetTest() override { std::filesystem::remove_all(folder_); }

  /// What a guest says in which `working_set_probe what` is all there is, until it ends.
  Output Boot(const std::string& kernel, const std::string& what) {
    std::filesystem::copy_file(Program("working_set_probe"), folder_ / "init");
    const Output packed = RunProgram(
        {"sh", "-c", "cd \"$0\" && echo init | cpio --quiet -o -H newc >image", folder_});
    if (packed.status != 0) return packed;
    // Emulated everywhere: it takes seconds, and not every /dev/kvm works. With less memory than
    // this the kernel makes no huge pages.
    return RunProgram({"qemu-system-x86_64",
                       "-no-user-config",
                       "-nodefaults",
                       "-display",
                       "none",
                       "-machine",
                       "q35",
                       "-accel",
                       "tcg",
                       "-cpu",
                       "max",
                       "-m",
                       "768",
                       "-kernel",
                       kernel,
                       "-initrd",
                       folder_ / "image",
                       "-append",
                       "console=ttyS0 quiet panic=-1 mitigations=off nokaslr -- " + what,
                       "-serial",
                       "stdio",
                       "-no-reboot"},
                      "", std::chrono::minutes(5));
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(WorkingSetTest, IdlePageTrackingTellsColdFromHot) {
  const Output kernel = RunProgram({SourceDir() + "/scripts/probe-kernel", "--cached"});
  if (kernel.status != 0) GTEST_SKIP() << "no kernel with it: scripts/probe-kernel builds one";
  const Output said = Boot(kernel.text.substr(0, kernel.text.find('\n')), "idle");
  EXPECT_EQ(said.status, 0);
  ExpectTap(said.text, 20);
}

TEST_F(WorkingSetTest, DamonTellsColdFromHot) {
  const Output kernel = RunProgram({SourceDir() + "/scripts/guest-kernel", "--series", "6.12"});
  if (kernel.status != 0) GTEST_SKIP() << "no kernel that has it: " << kernel.text;
  const std::filesystem::path tree = kernel.text.substr(0, kernel.text.find('\n'));
  const Output said = Boot(tree / "boot" / ("vmlinuz-" + tree.filename().string()), "damon");
  EXPECT_EQ(said.status, 0);
  ExpectTap(said.text, 15);
}

}  // namespace
}  // namespace ullage::tests
