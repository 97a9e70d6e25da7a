// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/charges.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

QemuFacts Vm(const char* id, std::optional<std::int32_t> pid) {
  QemuFacts vm;
  vm.spec.id.value = id;
  vm.pid = pid;
  return vm;
}

class ChargesTest : public testing::Test {
 protected:
  void WriteVm(int pid, const std::string& group, const char* usage) {
    tree_.Write("proc/" + std::to_string(pid) + "/cgroup", "0::/" + group + "\n");
    tree_.Write("cgroup/" + group + "/cgroup.procs", "");
    tree_.Write("cgroup/" + group + "/memory.current", usage);
    tree_.Write("cgroup/" + group + "/memory.peak", "9000000\n");
  }
  host::TemporaryTree tree_;
  Charges charges_{{tree_.path("proc"), tree_.path("cgroup")}};
};

TEST_F(ChargesTest, ReadsEachVmFromItsOwnCgroup) {
  WriteVm(7, "a", "4096\n");
  WriteVm(8, "b", "8192\n");
  const auto samples = charges_.Read({Vm("A", 7), Vm("B", 8)});
  EXPECT_EQ(samples[0].resident, Bytes(4096));
  EXPECT_EQ(samples[1].resident, Bytes(8192));
  EXPECT_EQ(samples[1].peak, Bytes(9000000));
  EXPECT_EQ(samples[1].swapped, std::nullopt) << "no swap file is unknown";
}

TEST_F(ChargesTest, GoesOnWithoutAPidOnceTheCgroupIsKnown) {
  EXPECT_NE(charges_.Read({Vm("A", std::nullopt)})[0].fault, "");
  WriteVm(7, "a", "4096\n");
  ASSERT_EQ(charges_.Read({Vm("A", 7)})[0].resident, Bytes(4096));
  WriteVm(7, "a", "12288\n");
  EXPECT_EQ(charges_.Read({Vm("A", std::nullopt)})[0].resident, Bytes(12288));
}

TEST_F(ChargesTest, AVanishedCgroupIsUnknownAndANewQemuIsFound) {
  WriteVm(7, "a", "4096\n");
  ASSERT_TRUE(charges_.Read({Vm("A", 7)})[0].resident);
  tree_.Remove("cgroup/a");
  const auto gone = charges_.Read({Vm("A", 7)})[0];
  EXPECT_EQ(gone.resident, std::nullopt);
  EXPECT_NE(gone.fault, "");
  WriteVm(9, "a2", "16384\n");
  EXPECT_EQ(charges_.Read({Vm("A", 9)})[0].resident, Bytes(16384));
}

TEST_F(ChargesTest, ReadsTheCgroupThatItsPodWasFollowedTo) {
  WriteVm(7, "elsewhere", "4096\n");
  WriteVm(8, "pod1", "8192\n");
  QemuFacts vm = Vm("A", 7);
  vm.memory_cgroup = tree_.path("cgroup/pod1");
  EXPECT_EQ(charges_.Read({vm})[0].resident, Bytes(8192));
  vm.pid.reset();
  EXPECT_EQ(charges_.Read({vm})[0].resident, Bytes(8192));
  WriteVm(9, "pod2", "16384\n");
  vm.memory_cgroup = tree_.path("cgroup/pod2");
  EXPECT_EQ(charges_.Read({vm})[0].resident, Bytes(16384));
  tree_.Remove("cgroup/pod2");
  EXPECT_EQ(charges_.Read({vm})[0].resident, std::nullopt);
  EXPECT_NE(charges_.Read({vm})[0].fault, "");
}

TEST_F(ChargesTest, ASpikeIsSeenBeforeLong) {
  WriteVm(7, "a", "4096\n");
  ASSERT_EQ(charges_.Read({Vm("A", 7)})[0].peak, Bytes(9000000));
  tree_.Write("cgroup/a/memory.peak", "9500000\n");
  ChargeSample sample;
  for (int i = 0; i < Charges::kSeldom; ++i) {
    sample = charges_.Read({Vm("A", 7)})[0];
    ASSERT_TRUE(sample.peak) << "known from the last look";
    ASSERT_EQ(sample.resident, Bytes(4096));
  }
  EXPECT_EQ(sample.peak, Bytes(9500000));
}

TEST_F(ChargesTest, WhatLeavesTheChargeIsLookedForInSwapAtOnce) {
  WriteVm(7, "a", "8388608\n");
  tree_.Write("cgroup/a/memory.swap.current", "0\n");
  ASSERT_EQ(charges_.Read({Vm("A", 7)})[0].swapped, Bytes());
  WriteVm(7, "a", "4194304\n");
  tree_.Write("cgroup/a/memory.swap.current", "4194304\n");
  EXPECT_EQ(charges_.Read({Vm("A", 7)})[0].swapped, Bytes::MiB(4));
}

TEST_F(ChargesTest, ANewEpochBeginsWithThePeakOfItsFirstTick) {
  WriteVm(7, "a", "4096\n");
  QemuFacts vm = Vm("A", 7);
  ASSERT_EQ(charges_.Read({vm})[0].peak, Bytes(9000000));
  tree_.Write("cgroup/a/memory.peak", "9500000\n");
  ++vm.epoch;
  EXPECT_EQ(charges_.Read({vm})[0].peak, Bytes(9500000));
}

TEST_F(ChargesTest, WhatCannotBeReadIsTriedAgainEachTime) {
  WriteVm(7, "a", "4096\n");
  tree_.Write("cgroup/a/memory.peak", "pear\n");
  const auto bad = charges_.Read({Vm("A", 7)})[0];
  EXPECT_EQ(bad.resident, Bytes(4096));
  EXPECT_EQ(bad.peak, std::nullopt);
  EXPECT_NE(bad.fault, "");
  WriteVm(7, "a", "4096\n");
  EXPECT_EQ(charges_.Read({Vm("A", 7)})[0].peak, Bytes(9000000));
}

TEST_F(ChargesTest, GarbageHurtsThatVmOnly) {
  WriteVm(7, "a", "pear\n");
  WriteVm(8, "b", "8192\n");
  const auto samples = charges_.Read({Vm("A", 7), Vm("B", 8)});
  EXPECT_EQ(samples[0].resident, std::nullopt);
  EXPECT_NE(samples[0].fault.find("not a number: pear"), std::string::npos) << samples[0].fault;
  EXPECT_EQ(samples[1].resident, Bytes(8192));
}

TEST_F(ChargesTest, ReadsWhatHybridGoesByOnlyForHybridVms) {
  for (const char* group : {"a", "b"}) {
    WriteVm(group[0] == 'a' ? 7 : 8, group, "4096\n");
    const std::string folder = std::string("cgroup/") + group;
    tree_.Write(folder + "/memory.high", "8192\n");
    tree_.Write(folder + "/memory.swap.max", "0\n");
    tree_.Write(folder + "/memory.stat", "pgmajfault 7\nworkingset_refault_anon 9\n");
    tree_.Write(folder + "/memory.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=1\n");
  }
  QemuFacts hybrid = Vm("A", 7);
  hybrid.spec.reclaim = Reclaim::kHybrid;
  auto samples = charges_.Read({hybrid, Vm("B", 8)});
  EXPECT_EQ(samples[0].limit, Bytes(8192));
  EXPECT_EQ(samples[0].swap_limit, Bytes(0));
  EXPECT_EQ(samples[0].major_faults, 7U);
  EXPECT_EQ(samples[0].refaults, 9U);
  EXPECT_EQ(samples[0].pressure_some_avg10, Permyriad{50});
  EXPECT_EQ(samples[0].fault, "");
  EXPECT_EQ(samples[1].limit, std::nullopt);
  EXPECT_EQ(samples[1].swap_limit, std::nullopt);
  EXPECT_EQ(samples[1].major_faults, std::nullopt);
  EXPECT_EQ(samples[1].pressure_some_avg10, std::nullopt);
  tree_.Write("cgroup/a/memory.pressure", "some avg10=pear\n");
  tree_.Write("cgroup/a/memory.high", "pear\n");
  samples = charges_.Read({hybrid});
  EXPECT_EQ(samples[0].resident, Bytes(4096)) << "one bad figure does not cost the others";
  EXPECT_EQ(samples[0].limit, std::nullopt);
  EXPECT_EQ(samples[0].pressure_some_avg10, std::nullopt);
  EXPECT_NE(samples[0].fault, "");
}

TEST_F(ChargesTest, ASharedCgroupBelongsToNobody) {
  WriteVm(7, "shared", "4096\n");
  WriteVm(8, "shared", "4096\n");
  const auto samples = charges_.Read({Vm("A", 7), Vm("B", 8)});
  EXPECT_EQ(samples[0].resident, std::nullopt);
  EXPECT_NE(samples[1].fault.find("shares"), std::string::npos);
}

TEST_F(ChargesTest, TheAgentsOwnCgroupIsShared) {
  WriteVm(7, "session", "4096\n");
  WriteVm(getpid(), "session", "4096\n");
  EXPECT_NE(charges_.Read({Vm("A", 7)})[0].fault.find("shares"), std::string::npos);
}

TEST_F(ChargesTest, AnAgentThatMovesIsFoundAtOnce) {
  WriteVm(7, "a", "4096\n");
  WriteVm(getpid(), "session", "4096\n");
  EXPECT_EQ(charges_.Read({Vm("A", 7)})[0].fault, "");
  WriteVm(getpid(), "a", "4096\n");
  EXPECT_NE(charges_.Read({Vm("A", 7)})[0].fault.find("shares"), std::string::npos);
  WriteVm(getpid(), "session", "4096\n");
  EXPECT_EQ(charges_.Read({Vm("A", 7)})[0].fault, "");
}

TEST_F(ChargesTest, AnAgentsCgroupThatWasMadeAnewIsFoundBeforeLong) {
  WriteVm(7, "a", "4096\n");
  WriteVm(getpid(), "session", "4096\n");
  EXPECT_EQ(charges_.Read({Vm("A", 7)})[0].fault, "");
  tree_.Remove("cgroup/session");
  std::filesystem::create_directory_symlink(tree_.path("cgroup/a"), tree_.path("cgroup/session"));
  ChargeSample sample;
  for (int i = 0; i < Charges::kSeldom; ++i) sample = charges_.Read({Vm("A", 7)})[0];
  EXPECT_NE(sample.fault.find("shares"), std::string::npos);
}

TEST_F(ChargesTest, VmsComeAndGoInAnyOrder) {
  WriteVm(7, "a", "4096\n");
  WriteVm(8, "b", "8192\n");
  WriteVm(9, "c", "12288\n");
  const auto read = [&](const std::vector<QemuFacts>& vms) {
    std::vector<std::int64_t> kib;
    for (const ChargeSample& sample : charges_.Read(vms)) {
      kib.push_back(sample.resident.value_or(Bytes()).count() / 1024);
    }
    return kib;
  };
  EXPECT_EQ(read({Vm("B", 8)}), (std::vector<std::int64_t>{8}));
  EXPECT_EQ(read({Vm("C", 9), Vm("A", 7), Vm("B", 8)}), (std::vector<std::int64_t>{12, 4, 8}));
  EXPECT_NE(charges_.PathOf({"B"}), "");
  EXPECT_EQ(read({Vm("A", 7), Vm("C", 9)}), (std::vector<std::int64_t>{4, 12}));
  EXPECT_EQ(charges_.PathOf({"B"}), "") << "nothing is kept of who is not named";
  EXPECT_NE(charges_.PathOf({"A"}), "");
  EXPECT_EQ(read({}), (std::vector<std::int64_t>{}));
}

}  // namespace
}  // namespace ullage::sources
