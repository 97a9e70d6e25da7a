// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/host_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

class HostMemoryTest : public testing::Test {
 protected:
  HostMemoryTest() {
    tree_.Write("proc/meminfo",
                "MemTotal: 4194304 kB\nMemFree: 1048576 kB\nMemAvailable: 2097152 kB\n");
    tree_.Write("proc/pressure/memory", "some avg10=1.25 avg60=0.00 avg300=0.00 total=9\n");
  }
  HostMemory Make(std::string cgroup = "") {
    return HostMemory({tree_.path("proc"), tree_.path("cgroup")}, std::move(cgroup));
  }
  void WriteCgroup(const char* limit, const char* usage) {
    tree_.Write("host/cgroup.procs", "");
    tree_.Write("host/memory.current", usage);
    tree_.Write("host/memory.max", limit);
    tree_.Write("host/memory.stat", "inactive_file 1048576\n");
  }
  host::TemporaryTree tree_;
};

TEST_F(HostMemoryTest, ReadsTheMachine) {
  const HostSample sample = Make().Read();
  EXPECT_EQ(sample.total, Bytes::GiB(4));
  EXPECT_EQ(sample.available, Bytes::GiB(2));
  EXPECT_EQ(sample.free, Bytes::GiB(1));
  EXPECT_EQ(sample.pressure_some_avg10, Permyriad{125});
  EXPECT_EQ(sample.fault, "");
}

TEST_F(HostMemoryTest, ReadsSwapWhereTheKernelHasIt) {
  EXPECT_EQ(Make().Read().swap_total, std::nullopt);
  EXPECT_EQ(Make().Read().swap_free, std::nullopt) << "none known is not none free";
  tree_.Write("proc/meminfo",
              "MemTotal: 4194304 kB\nMemFree: 1048576 kB\nMemAvailable: 2097152 kB\n"
              "SwapTotal: 1048576 kB\nSwapFree: 524288 kB\n");
  EXPECT_EQ(Make().Read().swap_total, Bytes::GiB(1));
  EXPECT_EQ(Make().Read().swap_free, Bytes::MiB(512));
  tree_.Write("proc/meminfo",
              "MemTotal: 4194304 kB\nMemFree: 1048576 kB\nMemAvailable: 2097152 kB\n"
              "SwapTotal: 0 kB\nSwapFree: 0 kB\n");
  EXPECT_EQ(Make().Read().swap_total, Bytes(0));
}

TEST_F(HostMemoryTest, TheSmallerOfMachineAndCgroupCounts) {
  WriteCgroup("1073741824\n", "268435456\n");
  const HostSample sample = Make(tree_.path("host")).Read();
  EXPECT_EQ(sample.total, Bytes::GiB(1));
  EXPECT_EQ(sample.available, Bytes::MiB(769)) << "limit − usage + inactive page cache";
  WriteCgroup("1099511627776\n", "0\n");
  EXPECT_EQ(Make(tree_.path("host")).Read().available, Bytes::GiB(2));
  WriteCgroup("max\n", "0\n");
  EXPECT_EQ(Make(tree_.path("host")).Read().total, Bytes::GiB(4));
}

TEST_F(HostMemoryTest, TheKubeletGoesByTheMachinesFigures) {
  WriteCgroup("1073741824\n", "268435456\n");
  tree_.Write("proc/" + std::to_string(getpid()) + "/cgroup", "0::/\n");
  tree_.Write("cgroup/memory.stat", "inactive_file 1048576\n");
  const host::Roots roots{tree_.path("proc"), tree_.path("cgroup")};
  HostMemory source(roots, tree_.path("host"), KubeletBounds(roots, Bytes::MiB(100)));
  const HostSample sample = source.Read();
  EXPECT_EQ(sample.until_eviction, Bytes::MiB(1024 + 1 - 100));
  EXPECT_EQ(sample.free, Bytes::MiB(768)) << "the cgroup's";
}

TEST_F(HostMemoryTest, ACgroupThatCannotBeReadLeavesNothingKnown) {
  WriteCgroup("1073741824\n", "garbage\n");
  HostMemory source = Make(tree_.path("host"));
  HostSample sample = source.Read();
  EXPECT_EQ(sample.available, std::nullopt) << "the machine's larger figure must not stand for it";
  EXPECT_NE(sample.fault.find("memory.current"), std::string::npos) << sample.fault;
  tree_.Remove("host");
  EXPECT_EQ(source.Read().total, std::nullopt);
  WriteCgroup("1073741824\n", "0\n");
  EXPECT_EQ(source.Read().total, Bytes::GiB(1)) << "found again once it is back";
}

TEST_F(HostMemoryTest, SaysWhatIsMissingInMeminfo) {
  tree_.Write("proc/meminfo", "MemTotal: 4 kB\n");
  EXPECT_NE(Make().Read().fault.find("MemAvailable"), std::string::npos);
  tree_.Write("proc/meminfo", "MemTotal: x kB\n");
  EXPECT_NE(Make().Read().fault.find("MemTotal: not a number"), std::string::npos);
}

TEST_F(HostMemoryTest, ReadsWhatStandsThereNow) {
  HostMemory source = Make();
  EXPECT_EQ(source.Available(), Bytes::GiB(2));
  tree_.Write("proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 1048576 kB\n");
  EXPECT_EQ(source.Available(), Bytes::GiB(1));
  tree_.Remove("proc/meminfo");
  EXPECT_EQ(source.Available(), std::nullopt) << "nothing old stands for it";
  EXPECT_NE(source.Read().fault, "");
  tree_.Write("proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 524288 kB\n");
  EXPECT_EQ(source.Available(), Bytes::MiB(512));
  tree_.Write("new", "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 262144 kB\n");
  std::filesystem::rename(tree_.path("new"), tree_.path("proc/meminfo"));
  EXPECT_EQ(source.Available(), Bytes::MiB(256)) << "another file by now";
}

TEST_F(HostMemoryTest, AKernelWithoutPressureFilesIsNotAtRest) {
  tree_.Remove("proc/pressure");
  EXPECT_EQ(Make().Read().pressure_some_avg10, std::nullopt);
}

TEST(ParsePressure, RefusesGarbage) {
  EXPECT_EQ(*ParsePressure("some avg10=100.00 avg60=0.00"), Permyriad{10000});
  EXPECT_EQ(ParsePressure("full avg10=0.00").error().code(), Code::kNotFound);
  for (const char* bad : {"some avg10=", "some avg10=1", "some avg10=1.5 ", "some avg10=-1.00 ",
                          "some avg10=nan ", "some avg10=101.00 ", "some avg10=1.000 "}) {
    EXPECT_EQ(ParsePressure(bad).error().code(), Code::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace ullage::sources
