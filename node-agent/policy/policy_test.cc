// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/policy.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ullage::policy {
namespace {

constexpr seconds kSlot{30};

// A node of 32 GiB with two VMs of 8 GiB, watched on a virtual clock, a tick each half minute.
class PolicyTest : public testing::Test {
 protected:
  PolicyTest() {
    params_.reserve = Bytes();
    params_.rise_delay = seconds(0);
    params_.rise_step = Permyriad{10000};
    node_.host.total = Bytes::GiB(32);
    node_.at.boot = BootTime(seconds(100000));
    for (const char* id : {"a", "b"}) node_.vms.push_back(Vm(id));
  }
  VmState Vm(const char* id) const {
    VmState vm;
    vm.spec.id.value = id;
    vm.spec.guest_memory = Bytes::GiB(8);
    vm.promised = vm.ordinary = Bytes::GiB(8);
    vm.resident = Bytes::GiB(2);
    vm.peak = Bytes::GiB(2);
    vm.cgroup = 7;
    vm.epoch = 1;
    vm.watched_since = node_.at.boot;
    return vm;
  }
  Plan Tick(seconds later = kSlot) {
    node_.at.boot += later;
    node_.vms_listed_at = node_.at.boot;
    Bytes held;
    for (VmState& vm : node_.vms) {
      vm.answered_at = node_.at.boot;
      if (vm.resident) vm.peak = std::max(vm.peak.value_or(Bytes()), *vm.resident);
      held += vm.resident.value_or(Bytes());
    }
    node_.host.available = *node_.host.total - held;
    Plan plan = policy_.Decide(node_, params_);
    node_.carried = plan.carry;
    return plan;
  }
  // VM 0 rises to `mib` for one slot once an hour.
  Plan Run(int hours, std::int64_t mib = 2048) {
    Plan plan;
    for (int slot = 0; slot < hours * 120; ++slot) {
      node_.vms[0].resident = Bytes::MiB(slot % 120 == 60 ? mib : 2048);
      plan = Tick();
    }
    return plan;
  }
  const PromiseAudit& Audit() const { return policy_.histories().audit(); }

  PolicyParams params_;
  Snapshot node_;
  Policy policy_;
};

TEST_F(PolicyTest, EachVmIsBelievedByItsOwnHistory) {
  EXPECT_EQ(Run(1).vms[0].growth.mib(), 6144) << "too young to be believed";
  const Plan plan = Run(36, 4096);
  const std::int64_t grew = 2048 * 115 / 100;
  EXPECT_NEAR(static_cast<double>(plan.vms[0].growth.mib()), static_cast<double>(grew), 16)
      << "and a margin; its bucket is wider, but all together rose by no more";
  EXPECT_LT(plan.vms[1].growth.mib(), 16) << "it never grew";
}

TEST_F(PolicyTest, AnotherHorizonBeginsWithoutHistoriesOnceItIsKnown) {
  Run(26);
  ASSERT_LT(Tick().vms[1].growth.mib(), 16);
  node_.node.emplace();
  params_.horizon = seconds(1200);
  Tick();
  EXPECT_EQ(policy_.histories().horizon(), seconds(600))
      << "the ReclaimPolicies are not listed yet";
  EXPECT_FALSE(policy_.histories().vms().empty());
  params_.horizon = seconds(600);
  node_.node->heard_at = node_.at.boot;
  Tick();
  EXPECT_FALSE(policy_.histories().vms().empty());
  EXPECT_GT(policy_.histories().vms().begin()->second.observed, std::chrono::hours(24));
  params_.horizon = seconds(1200);
  Tick();
  EXPECT_EQ(policy_.histories().horizon(), seconds(1200));
  EXPECT_LT(policy_.histories().vms().begin()->second.observed, seconds(60));
}

TEST_F(PolicyTest, WhatWasNeverTouchedIsBelievedOnlyAsTheWatchGoesOn) {
  const VmDecision decision = Run(6).vms[1];
  EXPECT_NEAR(static_cast<double>(decision.growth.mib()), 6144 * 0.75 * 0.75, 40)
      << "three quarters of a day are to be watched, of it and of all together";
  EXPECT_NE(decision.reason.find("never touched"), std::string::npos) << decision.reason;
  node_.vms[1].resident = Bytes::GiB(8);
  Tick();
  node_.vms[1].resident = Bytes::GiB(2);
  EXPECT_EQ(Tick().vms[1].reason.find("never touched"), std::string::npos) << "it has by now";
}

// Two VMs that grow in turn, 2 GiB each once an hour: their tails do not come together.
TEST_F(PolicyTest, WhatTheyDoTogetherIsLearntFromTheirSum) {
  Bytes least = Bytes::Max();
  for (int slot = 0; slot < 30 * 120; ++slot) {
    for (std::size_t vm : {0, 1}) {
      const bool up = slot % 120 == (vm == 0 ? 30 : 90);
      node_.vms[vm].resident = Bytes::MiB(up ? 4096 : 2048);
    }
    least = std::min(least, Tick().capacity.terms->growth);
    if (slot == 3 * 120) {
      EXPECT_GT(least.mib(), 2 * 2048) << "nothing is believed of them yet";
    }
  }
  EXPECT_EQ(Audit().broken, 0u);
  EXPECT_NEAR(static_cast<double>(least.mib()), 2048 * 1.15, 16) << "one of them at a time";
}

TEST_F(PolicyTest, TheSumsHighIsKeptForADay) {
  Run(30);
  for (VmState& vm : node_.vms) vm.resident = Bytes::GiB(6);
  for (std::size_t i = 0; i <= kSlots; ++i) Tick();
  for (int slot = 0; slot < 24 * 120; ++slot) {
    for (VmState& vm : node_.vms) vm.resident = Bytes::GiB(2);
    ASSERT_GE(Tick().capacity.terms->growth, Bytes::GiB(8)) << "slot " << slot;
  }
  for (int slot = 0; slot < 120 + 1; ++slot) Tick();
  EXPECT_LT(Tick().capacity.terms->growth, Bytes::GiB(8));
}

TEST_F(PolicyTest, ThreeVmsOfANewKindAreNotBelievedByWhatOthersDid) {
  Run(30);
  EXPECT_LT(Tick().capacity.terms->growth.mib(), 64);
  for (const char* id : {"c", "d", "e"}) node_.vms.push_back(Vm(id));
  EXPECT_EQ(Tick().capacity.terms->growth.mib(), 3 * 6144) << "whole at first";
  for (int slot = 0; slot < 4 * 120; ++slot) Tick();
  EXPECT_GT(Tick().capacity.terms->growth.mib(), 3 * 6144 * 3 / 10) << "a third after four hours";
}

TEST_F(PolicyTest, ARebootAndAnotherVmStartWithoutAHistory) {
  Run(36);
  node_.vms[0].epoch = 2;
  node_.vms[0].watched_since = node_.at.boot;
  node_.vms[1].spec.id.value = "c";
  node_.vms[1].watched_since = node_.at.boot;
  const Plan plan = Tick();
  EXPECT_EQ(plan.vms[0].growth.mib(), 6144);
  EXPECT_EQ(plan.vms[1].growth.mib(), 6144);
}

TEST_F(PolicyTest, AHistoryFollowsAVmiThatMigrates) {
  node_.node.emplace();
  node_.node->allocatable = Bytes::GiB(32);
  Run(36);
  node_.vms[0].cgroup = 8;
  node_.vms[0].epoch = 9;
  node_.vms[0].watched_since = node_.at.boot;
  EXPECT_LT(Tick().vms[0].growth.mib(), 16);
}

TEST_F(PolicyTest, ALibvirtDomainThatRestartsHasNone) {
  Run(36);
  node_.vms[0].cgroup = 8;
  node_.vms[0].epoch = 9;
  node_.vms[0].watched_since = node_.at.boot;
  EXPECT_EQ(Tick().vms[0].growth.mib(), 6144);
}

TEST_F(PolicyTest, EveryForecastIsScored) {
  Run(36);
  const std::uint64_t windows = Audit().windows;
  EXPECT_EQ(windows, 36 * 120 - kSlots);
  EXPECT_EQ(Audit().broken, 0u);
  EXPECT_EQ(Audit().width, 0);
  const Bytes before = Tick().capacity.terms->buffer;
  // Both at once claim what neither ever claimed: 12 GiB, and 3.2 GiB were kept for them.
  for (VmState& vm : node_.vms) vm.resident = Bytes::GiB(8);
  Tick();
  for (VmState& vm : node_.vms) vm.resident = Bytes::GiB(2);
  for (std::size_t i = 0; i <= kSlots; ++i) Tick();
  EXPECT_GE(Audit().broken, kSlots - 1) << "each window with the rise in it";
  EXPECT_LE(Audit().broken, kSlots);
  const Bytes after = Tick().capacity.terms->buffer;
  EXPECT_GT(after.mib(), before.mib() * 3) << "wide enough for the next time";
  EXPECT_LE(after.mib(), before.mib() * 4 + 1);
  EXPECT_GT(Audit().width, 2);
  for (std::size_t i = 0; i < 7 * 2880; ++i) Tick();
  EXPECT_NEAR(Audit().width, 1.5, 0.3) << "half of it is left after a week";
}

TEST_F(PolicyTest, WhoComesOrLeavesBreaksNoPromise) {
  Run(3);
  node_.vms.push_back(Vm("c"));
  for (std::size_t i = 0; i < kSlots; ++i) Tick();
  node_.vms[2].resident = Bytes::GiB(2);
  node_.vms.erase(node_.vms.begin());
  for (std::size_t i = 0; i < 2 * kSlots; ++i) Tick();
  EXPECT_EQ(Audit().broken, 0u);
}

TEST_F(PolicyTest, AGapIsNoHistory) {
  Run(3);
  const std::uint64_t windows = Audit().windows;
  node_.vms[0].resident = node_.vms[1].resident = Bytes::GiB(7);
  Tick(seconds(3600));
  EXPECT_EQ(Audit().windows, windows);
  for (std::size_t i = 0; i + 1 < kSlots; ++i) Tick();
  EXPECT_EQ(Audit().windows, windows) << "a whole horizon is wanted again";
  Tick();
  EXPECT_EQ(Audit().windows, windows + 1);
  EXPECT_EQ(Audit().broken, 0u);
}

TEST_F(PolicyTest, TicksMayBeFartherApartThanASlot) {
  for (int i = 0; i < 1500; ++i) {
    node_.vms[0].resident = Bytes::MiB(i % 60 == 30 ? 4096 : 2048);
    Tick(seconds(60));
  }
  const Plan plan = Tick();
  EXPECT_GT(plan.vms[0].growth.mib(), 2048);
  EXPECT_LT(plan.vms[1].growth.mib(), 16);
}

TEST_F(PolicyTest, TheCgroupsOwnMarkTellsOfWhatRoseBetweenTicks) {
  for (int i = 0; i < 3000; ++i) {
    node_.vms[0].kernel_peak = Bytes::MiB(2048 + i);
    Tick();
  }
  EXPECT_GT(Tick().vms[0].growth.mib(), 512);
}

TEST_F(PolicyTest, WhatReclaimCanWinIsMeasuredByWhatItWon) {
  node_.host.swap_free = Bytes::GiB(8);
  node_.host.pressure_some_avg10 = Permyriad{0};
  VmState& vm = node_.vms[0];
  vm.spec.reclaim = Reclaim::kHybrid;
  const auto rec = [&] {
    vm.working_set.cold = Bytes::GiB(4);
    vm.working_set.seen_at = node_.at.boot + kSlot;
    return Tick(seconds(15)).capacity.terms->recoverable.mib();
  };
  vm.resident = Bytes::GiB(8);
  Run(1, 8192);
  vm.resident = Bytes::GiB(8);
  rec();
  vm.resident = Bytes::GiB(7);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(rec(), 0) << "it fell of itself";
  vm.hybrid.paged_at = node_.at.boot;
  vm.resident = Bytes::MiB(7 * 1024 - 100);
  rec();
  vm.resident = Bytes::MiB(7 * 1024 - 200);
  for (int i = 0; i < 4; ++i) rec();
  EXPECT_GT(rec(), 900) << "half of 100 MiB or more in half a minute, for ten minutes";
  EXPECT_LE(rec(), 2048) << "half of what is cold";
}

TEST_F(PolicyTest, OneWhoIsUnknownMayStillClaimAll) {
  Run(36);
  node_.vms[0].resident.reset();
  node_.vms[1].leaving = true;
  const Plan plan = Tick();
  EXPECT_EQ(plan.vms[0].growth.mib(), 8192);
  EXPECT_EQ(plan.vms[1].growth.mib(), 6144);
}

TEST_F(PolicyTest, TheAbsentAreForgottenAfterADay) {
  Run(3);
  node_.vms.pop_back();
  for (int i = 0; i < 2880; ++i) Tick();
  EXPECT_EQ(policy_.histories().vms().size(), 2u);
  Tick();
  Tick();
  EXPECT_EQ(policy_.histories().vms().size(), 1u);
}

}  // namespace
}  // namespace ullage::policy
