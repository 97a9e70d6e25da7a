// SPDX-License-Identifier: Apache-2.0
// cgroup v2 as a kernel has it. The machine that runs the tests may know v1 only, but each guest
// has a v2 hierarchy of its own: the probe goes in there.
#include <filesystem>

#include "tests/guest/lab.h"
#include "tests/guest/tap.h"

namespace ullage::tests {
namespace {

using CgroupV2Test = GuestTest;

// The guest kernel's RAM disk: page cache and swap want a block device.
std::string RamDisk() {
  const Output output = RunProgram({SourceDir() + "/scripts/guest-kernel"});
  const std::filesystem::path kernel = output.text.substr(0, output.text.find('\n'));
  return kernel / "lib/modules" / kernel.filename() / "kernel/drivers/block/brd.ko";
}

TEST_F(CgroupV2Test, TheKernelsOwnV2IsReadAsItIs) {
  const std::string disk = RamDisk();
  ASSERT_TRUE(std::filesystem::exists(disk)) << disk;
  lab().Guest("v2", {"--mem", "384", "--driver", "none", "--no-balloon", "--add",
                     Program("cgroup_v2_probe"), "--add", disk});
  lab().Exec("v2",
             "insmod /bin/brd.ko rd_nr=2 rd_size=65536 && mkswap /dev/ram1 >/dev/null && "
             "swapon /dev/ram1");
  const Output output = lab().Command({"exec", "v2", "--", "cgroup_v2_probe"});
  EXPECT_EQ(output.status, 0);
  ExpectTap(output.text, 20);
}

}  // namespace
}  // namespace ullage::tests
