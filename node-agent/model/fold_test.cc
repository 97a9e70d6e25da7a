// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/fold.h"

#include <gtest/gtest.h>

namespace ullage {
namespace {

constexpr Overhead kOverhead{Bytes::MiB(100), Bytes::MiB(10)};

VmSpec Spec(const char* id) {
  VmSpec spec;
  spec.id.value = id;
  spec.guest_memory = Bytes::MiB(512);
  spec.vcpus = 2;
  return spec;
}

Samples One(std::int64_t resident_mib, std::uint64_t epoch = 1, std::int64_t kernel_peak_mib = 0,
            std::uint64_t cgroup = 10) {
  VmSample vm;
  vm.qemu.spec = Spec("a");
  vm.qemu.epoch = epoch;
  vm.charge.resident = Bytes::MiB(resident_mib);
  vm.charge.cgroup = cgroup;
  if (kernel_peak_mib > 0) vm.charge.peak = Bytes::MiB(kernel_peak_mib);
  Samples samples;
  samples.vms.push_back(std::move(vm));
  return samples;
}

TEST(Promised, IsGuestMemoryAndOverhead) {
  EXPECT_EQ(Promised(Spec("a"), kOverhead), Bytes::MiB(512 + 100 + 20));
}

TEST(Fold, ReturnedIsWhatFellFromThePeak) {
  Snapshot snapshot = Fold({}, One(100), kOverhead);
  EXPECT_EQ(snapshot.vms[0].returned, Bytes());
  snapshot = Fold(snapshot, One(500), kOverhead);
  snapshot = Fold(snapshot, One(150), kOverhead);
  EXPECT_EQ(snapshot.vms[0].peak, Bytes::MiB(500));
  EXPECT_EQ(snapshot.vms[0].returned, Bytes::MiB(350));
  snapshot = Fold(snapshot, One(450), kOverhead);
  EXPECT_EQ(snapshot.vms[0].returned, Bytes::MiB(50)) << "what is taken again has not returned";
}

TEST(Fold, TheKernelsMarkTellsOfSpikesBetweenTicks) {
  Snapshot snapshot = Fold({}, One(100, 1, 400), kOverhead);
  EXPECT_EQ(snapshot.vms[0].returned, Bytes::MiB(300)) << "an agent that starts late knows too";
  snapshot = Fold(snapshot, One(100, 1, 480), kOverhead);
  EXPECT_EQ(snapshot.vms[0].peak, Bytes::MiB(480));
}

// What the agent before this one left of VM "a".
Snapshot Left(std::int64_t resident_mib, std::uint64_t cgroup = 10) {
  Snapshot previous;
  previous.carried.inherited =
      Inherited{{}, {}, {}, {{{"a"}, cgroup, Bytes::MiB(resident_mib), BootTime(seconds(100))}}};
  return previous;
}

TEST(Fold, AVmGoesOnBeingWatchedAcrossAnAgentsRestart) {
  Samples unknown = One(500);
  unknown.at.boot = BootTime(seconds(1000));
  unknown.vms[0].charge = {};
  Snapshot snapshot = Fold(Left(500), unknown, kOverhead);
  EXPECT_EQ(snapshot.vms[0].watched_since, BootTime(seconds(1000)));
  snapshot = Fold(snapshot, One(440), kOverhead);
  EXPECT_EQ(snapshot.vms[0].watched_since, BootTime(seconds(100))) << "by its cgroup";
  EXPECT_TRUE(snapshot.carried.inherited->vms.empty());
  Samples rebooted = One(440, 2);
  rebooted.at.boot = BootTime(seconds(1010));
  EXPECT_EQ(Fold(snapshot, rebooted, kOverhead).vms[0].watched_since, BootTime(seconds(1010)));
}

TEST(Fold, AnotherCgroupOrACollapseInBetweenIsAnotherBoot) {
  Samples now = One(430);
  now.at.boot = BootTime(seconds(1000));
  for (const Snapshot& previous : {Left(500), Left(430, 11)}) {
    Snapshot snapshot = Fold(previous, now, kOverhead);
    EXPECT_EQ(snapshot.vms[0].watched_since, BootTime(seconds(1000)));
    now.vms[0].charge.resident = Bytes::MiB(500);
    snapshot = Fold(snapshot, now, kOverhead);
    EXPECT_EQ(snapshot.vms[0].watched_since, BootTime(seconds(1000))) << "and remains one";
    now.vms[0].charge.resident = Bytes::MiB(430);
  }
}

TEST(Fold, ARebootStartsANewEpoch) {
  Snapshot snapshot = Fold({}, One(500, 1, 500), kOverhead);
  snapshot = Fold(snapshot, One(120, 2, 500), kOverhead);
  EXPECT_EQ(snapshot.vms[0].returned, Bytes()) << "what an earlier boot held is not returned";
  snapshot = Fold(snapshot, One(110, 2, 500), kOverhead);
  EXPECT_EQ(snapshot.vms[0].peak, Bytes::MiB(120)) << "the kernel's mark is of the earlier boot";
  snapshot = Fold(snapshot, One(110, 2, 600), kOverhead);
  EXPECT_EQ(snapshot.vms[0].peak, Bytes::MiB(600));
}

TEST(Fold, PassesOnWhetherAGuestEmptiesItsBalloon) {
  Samples samples = One(500);
  for (const std::optional<bool> autodeflate : {std::optional(true), std::optional<bool>()}) {
    samples.vms[0].qemu.autodeflate = autodeflate;
    EXPECT_EQ(Fold({}, samples, kOverhead).vms[0].autodeflate, autodeflate);
  }
}

TEST(Fold, WhatWasSwappedOutHasNotReturned) {
  Snapshot snapshot = Fold({}, One(500), kOverhead);
  Samples samples = One(100);
  samples.vms[0].charge.swapped = Bytes::MiB(300);
  EXPECT_EQ(Fold(snapshot, std::move(samples), kOverhead).vms[0].returned, Bytes::MiB(100));
}

TEST(Fold, WatchesEachEpochAnew) {
  Samples samples = One(100);
  samples.at.boot = BootTime(seconds(5));
  Snapshot snapshot = Fold({}, samples, kOverhead);
  samples.at.boot = BootTime(seconds(9));
  snapshot = Fold(snapshot, samples, kOverhead);
  EXPECT_EQ(snapshot.vms[0].watched_since, BootTime(seconds(5)));
  samples = One(100, 2);
  samples.at.boot = BootTime(seconds(12));
  EXPECT_EQ(Fold(snapshot, samples, kOverhead).vms[0].watched_since, BootTime(seconds(12)));
}

TEST(Fold, KeepsWhyAVmIsLeftAlone) {
  Samples samples = One(100);
  samples.vms[0].qemu.exempt = "its memory is locked";
  EXPECT_EQ(Fold({}, std::move(samples), kOverhead).vms[0].exempt, "its memory is locked");
}

TEST(Fold, FaultsAreARateBetweenTwoTicksOfOneCgroup) {
  const auto at = [](std::int64_t s, std::uint64_t major, std::uint64_t again,
                     std::uint64_t cgroup) {
    Samples samples = One(100, 1, 0, cgroup);
    samples.at.boot = BootTime(seconds(s));
    samples.vms[0].charge.major_faults = major;
    samples.vms[0].charge.refaults = again;
    return samples;
  };
  const Snapshot first = Fold({}, at(10, 1000, 50, 10), kOverhead);
  EXPECT_FALSE(first.vms[0].faults_a_minute) << "one look is no rate";
  EXPECT_EQ(Fold(first, at(12, 1010, 80, 10), kOverhead).vms[0].faults_a_minute, 900u);
  EXPECT_FALSE(Fold(first, at(10, 1010, 80, 10), kOverhead).vms[0].faults_a_minute);
  EXPECT_FALSE(Fold(first, at(12, 5, 5, 11), kOverhead).vms[0].faults_a_minute);
  Samples early = at(10, 1025, 50, 10);
  early.at.boot += milliseconds(250);
  EXPECT_EQ(Fold(first, early, kOverhead).vms[0].faults_a_minute, 1500u) << "25 pages, not 100";
}

TEST(Fold, WhatThePolicyRemembersOfAVmEndsWithItsEpoch) {
  Plan plan;
  plan.hybrid.resize(1);
  plan.hybrid[0].balloon_wish = Bytes::MiB(300);
  const Snapshot before = Remember(Fold({}, One(100), kOverhead), plan);
  EXPECT_EQ(Fold(before, One(100), kOverhead).vms[0].hybrid.balloon_wish, Bytes::MiB(300));
  EXPECT_FALSE(Fold(before, One(100, 2), kOverhead).vms[0].hybrid.balloon_wish);
}

TEST(Fold, NoticesAGuestThatSwaps) {
  const auto at = [](int second, std::optional<Bytes> in, std::uint64_t epoch = 1) {
    Samples samples = One(100, epoch);
    samples.at.boot = BootTime(seconds(second));
    samples.vms[0].qemu.guest.swap_in = in;
    return samples;
  };
  Snapshot snapshot = Fold({}, at(1, Bytes::MiB(7)), kOverhead);
  EXPECT_FALSE(snapshot.vms[0].guest_swapped_at) << "long ago, for all that is known";
  snapshot = Fold(snapshot, at(2, Bytes::MiB(8)), kOverhead);
  EXPECT_EQ(snapshot.vms[0].guest_swapped_at, BootTime(seconds(2)));
  snapshot = Fold(snapshot, at(3, std::nullopt), kOverhead);
  snapshot = Fold(snapshot, at(4, Bytes::MiB(8)), kOverhead);
  EXPECT_EQ(snapshot.vms[0].guest_swapped_at, BootTime(seconds(2)));
  snapshot = Fold(snapshot, at(5, Bytes::MiB(9), 2), kOverhead);
  EXPECT_FALSE(snapshot.vms[0].guest_swapped_at) << "another guest since";
}

TEST(Fold, UnknownStaysUnknown) {
  Samples samples = One(100);
  samples.vms[0].charge = {};
  samples.vms[0].charge.fault = "no cgroup";
  const Snapshot snapshot = Fold({}, std::move(samples), kOverhead);
  EXPECT_EQ(snapshot.vms[0].resident, std::nullopt);
  EXPECT_EQ(snapshot.vms[0].returned, std::nullopt);
  EXPECT_EQ(snapshot.vms[0].hinting, Hinting::kUnknown);
  EXPECT_EQ(snapshot.vms[0].fault, "no cgroup");
}

TEST(Fold, AGrantWithoutAQemuCountsWhole) {
  Samples samples = One(100);
  samples.grants.Edit().push_back({Spec("b"), Bytes::MiB(500), Bytes::MiB(192), {}});
  const Snapshot snapshot = Fold({}, std::move(samples), kOverhead);
  ASSERT_EQ(snapshot.vms.size(), 2u);
  EXPECT_FALSE(snapshot.vms[0].bound_only);
  EXPECT_EQ(snapshot.vms[0].ordinary, Bytes::MiB(632)) << "nobody asked: all of it is ordinary";
  EXPECT_TRUE(snapshot.vms[1].bound_only);
  EXPECT_EQ(snapshot.vms[1].reclaimed, Bytes::MiB(192));
  EXPECT_EQ(snapshot.vms[1].ordinary, Bytes::MiB(500));
  EXPECT_EQ(snapshot.vms[1].promised, Bytes::MiB(692)) << "whole quanta are what was taken";
}

TEST(Fold, AGrantAndItsQemuAreOneVm) {
  Samples samples = One(100);
  samples.grants.Edit().push_back({Spec("a"), Bytes::MiB(440), Bytes::MiB(192), {}});
  const Snapshot snapshot = Fold({}, std::move(samples), kOverhead);
  ASSERT_EQ(snapshot.vms.size(), 1u);
  EXPECT_EQ(snapshot.vms[0].reclaimed, Bytes::MiB(192));
  EXPECT_EQ(snapshot.vms[0].ordinary, Bytes::MiB(440));
}

}  // namespace
}  // namespace ullage
