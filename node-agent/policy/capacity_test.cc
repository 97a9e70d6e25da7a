// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/capacity.h"

#include <gtest/gtest.h>

namespace ullage::policy {
namespace {

constexpr BootTime kNow{std::chrono::hours(1)};

PolicyParams Params() {
  PolicyParams params;
  params.overhead = {Bytes::MiB(128), Bytes()};
  params.reserve = Bytes();
  params.history_min = seconds(600);
  params.ratio_cap = Permyriad{12500};
  params.rise_delay = seconds(0);
  params.rise_step = Permyriad{10000};
  return params;
}

VmState Vm(const char* id, std::int64_t resident_mib) {
  VmState vm;
  vm.spec.id.value = id;
  vm.spec.guest_memory = Bytes::MiB(1024);
  vm.promised = Bytes::MiB(1152);
  vm.ordinary = vm.promised;
  vm.resident = Bytes::MiB(resident_mib);
  vm.peak = CeilingOf(vm);  // it has touched all of it before
  vm.hinting = Hinting::kOn;
  vm.answered_at = kNow;
  vm.watched_since = kNow - seconds(600);
  return vm;
}

// The demo's host: 3456 MiB, three VMs that were promised all of it and hold 200 MiB each.
Snapshot Full() {
  Snapshot snapshot;
  snapshot.at.boot = kNow;
  snapshot.host.total = Bytes::MiB(3456);
  snapshot.host.available = Bytes::MiB(2856);
  snapshot.vms = {Vm("a", 200), Vm("b", 200), Vm("c", 200)};
  snapshot.vms_listed_at = kNow;
  return snapshot;
}

TEST(Decide, AddsUpByHand) {
  const Plan plan = Decide(Full(), Params());
  const CapacityTerms& terms = *plan.capacity.terms;
  EXPECT_EQ(terms.available.mib(), 2856);
  EXPECT_EQ(terms.growth.mib(), 345) << "3 × 10 % of 1152";
  EXPECT_EQ(terms.buffer.mib(), 460) << "40 % of 1152";
  EXPECT_EQ(terms.unsold, Bytes());
  EXPECT_EQ(terms.bound.mib(), 2049);
  EXPECT_EQ(terms.cap.mib(), 864) << "1.25 × 3456 − 3456";
  EXPECT_EQ(terms.bound_full.mib(), 2856 - 3 * 952 - 460);
  EXPECT_EQ(plan.capacity.published.mib(), 832) << "the cap, in whole quanta";
  EXPECT_NE(plan.capacity.reason.find("capped"), std::string::npos);
}

TEST(Decide, SellsNothingTwice) {
  Snapshot snapshot = Full();
  snapshot.vms.pop_back();  // one VM fewer: 1152 MiB were never promised
  snapshot.host.available = Bytes::MiB(3056);
  const Plan plan = Decide(snapshot, Params());
  EXPECT_EQ(plan.capacity.unsold.mib(), 1152);
  EXPECT_EQ(plan.capacity.terms->bound.mib(), 1212) << "3056 − 230.4 − 460.8 − 1152";
}

TEST(Decide, MemoryThatWasNotReturnedIsNotPromised) {
  Snapshot snapshot = Full();
  for (VmState& vm : snapshot.vms) vm.resident = Bytes::MiB(1050);
  snapshot.host.available = Bytes::MiB(306);
  const Plan plan = Decide(snapshot, Params());
  EXPECT_LT(plan.capacity.terms->bound, Bytes());
  EXPECT_EQ(plan.capacity.published, Bytes());
}

TEST(Decide, UnknownNeverPromises) {
  for (int what = 0; what < 4; ++what) {
    Snapshot snapshot = Full();
    if (what == 0) snapshot.host.available.reset();
    if (what == 1) snapshot.host.total.reset();
    if (what == 2) snapshot.vms_listed_at.reset();
    if (what == 3) snapshot.vms_listed_at = kNow - seconds(31);
    const Plan plan = Decide(snapshot, Params());
    EXPECT_EQ(plan.capacity.additional, Bytes()) << what;
    EXPECT_FALSE(plan.capacity.reason.empty()) << what;
  }
}

TEST(Decide, WhoeverIsUnknownMayClaimAll) {
  const auto growth = [](auto change) {
    Snapshot snapshot = Full();
    change(snapshot.vms[0]);
    return Decide(snapshot, Params()).vms[0].growth.mib();
  };
  EXPECT_EQ(growth([](VmState&) {}), 115);
  EXPECT_EQ(growth([](VmState& vm) { vm.answered_at.reset(); }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.answered_at = kNow - seconds(31); }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.spec.reclaim = Reclaim::kOff; }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.exempt = "its memory is locked"; }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.reclaimed = Bytes::MiB(64); }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.watched_since = kNow - seconds(599); }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.watched_since.reset(); }), 952);
  EXPECT_EQ(growth([](VmState& vm) { vm.resident.reset(); }), 1152);
  EXPECT_EQ(growth([](VmState& vm) { vm.resident = Bytes::MiB(2000); }), 0) << "above its promise";
}

// Three VMs of 1152 MiB that hold 200 MiB each, known for two days and seen to grow by 20 %.
class DecideTogether : public testing::Test {
 protected:
  DecideTogether() {
    for (std::size_t i = 0; i < node_.vms.size(); ++i) {
      forecast_.vms.push_back(
          {.observed = seconds(172800), .growth = Permyriad{2000}, .reclaimed = {}});
    }
    forecast_.together = {.observed = seconds(172800), .rise = {}, .high = {}};
  }
  std::int64_t Growth() const {
    return Decide(node_, Params(), forecast_).capacity.terms->growth.mib();
  }
  Snapshot node_ = Full();
  Forecast forecast_;
};

TEST_F(DecideTogether, TheyClaimNoMoreThanTheirSumRoseBy) {
  EXPECT_EQ(Growth(), 0) << "they were watched for two days, and their sum never rose";
  forecast_.together.rise = Permyriad{500};
  EXPECT_EQ(Growth(), 172) << "5 % of 3456";
  forecast_.together.rise = Permyriad{5000};
  EXPECT_EQ(Growth(), 691) << "nor more than each by itself: 3 × 20 % of 1152";
}

TEST_F(DecideTogether, TheSumIsBelievedAsTheWatchGoesOn) {
  forecast_.together.observed = seconds(0);
  EXPECT_EQ(Growth(), 691);
  forecast_.together.observed = seconds(43200);
  EXPECT_EQ(Growth(), 345) << "half a day";
}

TEST_F(DecideTogether, TheyMayComeBackToTheirHigh) {
  forecast_.together.high = Permyriad{5000};
  const Plan plan = Decide(node_, Params(), forecast_);
  EXPECT_EQ(plan.capacity.terms->growth.mib(), 1128) << "half of 3456, less 600";
  EXPECT_EQ(plan.vms[0].growth.mib(), 376) << "each its part";
  EXPECT_NE(plan.vms[0].reason.find("held more before"), std::string::npos);
  forecast_.together.high = Permyriad{10000};
  EXPECT_EQ(Growth(), 3 * 952) << "all that they do not hold";
}

TEST_F(DecideTogether, WhatNobodyWatchedYetIsKeptWhole) {
  node_.vms[0].peak = Bytes::MiB(200);
  node_.vms[1].spec.reclaim = Reclaim::kOff;
  forecast_.vms[0].observed = seconds(900);
  EXPECT_EQ(Growth(), 952 + 476) << "one is not believed; the other touched little in 15 minutes, "
                                    "and half an hour is wanted of who comes to others";
}

TEST_F(DecideTogether, AVmOnReclaimedMemoryIsBelievedByAWholeHistory) {
  for (VmState& vm : node_.vms) vm.reclaimed = Bytes::MiB(64);
  EXPECT_EQ(Growth(), 0);
  for (Outlook& vm : forecast_.vms) vm.observed = seconds(7199);
  EXPECT_EQ(Growth(), 3 * 952) << "two hours are twelve horizons";
}

TEST(Decide, GrantedIsAlwaysPublished) {
  Snapshot snapshot = Full();
  snapshot.vms[2].reclaimed = Bytes::MiB(512);
  snapshot.vms[2].ordinary = Bytes::MiB(640);
  snapshot.host.available = Bytes();
  const Plan plan = Decide(snapshot, Params());
  EXPECT_EQ(plan.capacity.additional, Bytes());
  EXPECT_EQ(plan.capacity.published.mib(), 512) << "never below what is granted";
}

TEST(Decide, RisesSlowlyAndFallsAtOnce) {
  PolicyParams params = Params();
  params.rise_delay = seconds(300);
  params.rise_step = Permyriad{200};  // 69 MiB a minute: one quantum
  Snapshot snapshot = Full();
  const auto tick = [&](seconds later) {
    snapshot.at.boot += later;
    snapshot.vms_listed_at = snapshot.at.boot;
    for (VmState& vm : snapshot.vms) vm.answered_at = snapshot.at.boot;
    const Plan plan = Decide(snapshot, params);
    snapshot.carried = plan.carry;
    return plan.capacity.additional.mib();
  };
  EXPECT_EQ(tick(seconds(0)), 0);
  EXPECT_EQ(tick(seconds(299)), 0);
  EXPECT_EQ(tick(seconds(1)), 64);
  EXPECT_EQ(tick(seconds(1)), 64) << "one step a minute";
  EXPECT_EQ(tick(seconds(60)), 128);
  snapshot.host.available = Bytes::MiB(900);
  EXPECT_EQ(tick(seconds(1)), 64) << "down at once";
  snapshot.host.available = Bytes::MiB(2856);
  EXPECT_EQ(tick(seconds(1)), 64) << "and the delay starts anew";
}

TEST(Decide, ABindAloneLeavesThePublishedValue) {
  PolicyParams params = Params();
  params.rise_delay = seconds(300);  // C stands well below what would be safe
  Snapshot snapshot = Full();
  snapshot.carried.additional = Bytes::MiB(512);
  const Plan before = Decide(snapshot, params);
  ASSERT_EQ(before.capacity.published.mib(), 512);
  snapshot.carried = before.carry;
  VmState bound = Vm("d", 0);
  bound.resident.reset();
  bound.bound_only = true;
  bound.promised = Bytes::MiB(192);
  bound.ordinary = Bytes();
  bound.reclaimed = Bytes::MiB(192);
  snapshot.vms.push_back(bound);
  EXPECT_EQ(Decide(snapshot, params).capacity.published.mib(), 512);
}

TEST(Decide, ARiseThatIsNotWorthItIsNone) {
  PolicyParams params = Params();
  params.ratio_cap = Permyriad{20000};
  params.dead_band = Permyriad{1000};  // 345 MiB
  Snapshot snapshot = Full();          // 2049 MiB are safe
  snapshot.carried.additional = Bytes::MiB(1728);
  Plan plan = Decide(snapshot, params);
  EXPECT_EQ(plan.capacity.additional.mib(), 1728);
  EXPECT_NE(plan.capacity.reason.find("too little"), std::string::npos) << plan.capacity.reason;
  snapshot.carried.additional = Bytes::MiB(1664);
  plan = Decide(snapshot, params);
  EXPECT_EQ(plan.capacity.additional.mib(), 2048);
  snapshot.carried = plan.carry;
  snapshot.host.available = Bytes::MiB(2791);
  EXPECT_EQ(Decide(snapshot, params).capacity.additional.mib(), 1984) << "it falls by less";
}

TEST(Decide, AReclaimPolicySaysWhichRiseIsWorthIt) {
  PolicyParams params = Params();
  params.ratio_cap = Permyriad{20000};
  params.dead_band = Permyriad{1000};  // 345 MiB
  Snapshot snapshot = Full();          // 2049 MiB are safe
  snapshot.carried.additional = Bytes::MiB(1728);
  params.least_rise = Bytes::MiB(320);
  EXPECT_EQ(Decide(snapshot, params).capacity.additional.mib(), 2048);
  params.least_rise = Bytes::MiB(321);
  const Plan plan = Decide(snapshot, params);
  EXPECT_EQ(plan.capacity.additional.mib(), 1728);
  EXPECT_NE(plan.capacity.reason.find("too little"), std::string::npos) << plan.capacity.reason;
}

TEST(Decide, ARiseThatHasBegunIsEnded) {
  PolicyParams params = Params();
  params.ratio_cap = Permyriad{20000};
  params.dead_band = Permyriad{1000};
  params.rise_step = Permyriad{500};  // 172 MiB a minute
  Snapshot snapshot = Full();
  for (int minute = 0; minute < 20; ++minute) {
    snapshot.carried = Decide(snapshot, params).carry;
    snapshot.at.boot += seconds(60);
    snapshot.vms_listed_at = snapshot.at.boot;
    for (VmState& vm : snapshot.vms) vm.answered_at = snapshot.at.boot;
  }
  EXPECT_EQ(snapshot.carried.additional.mib(), 2048);
}

TEST(Decide, FullHoldsEvenIfEveryGuestWantsAll) {
  PolicyParams params = Params();
  params.bound = Bound::kFull;
  Snapshot snapshot = Full();
  EXPECT_EQ(Decide(snapshot, params).capacity.additional, Bytes());
  snapshot.host.swap_free = Bytes::MiB(1000);
  const Plan plan = Decide(snapshot, params);
  EXPECT_EQ(plan.capacity.terms->bound_full.mib(), 539) << "2856 − 3 × 952 − 460.8 + 1000";
  EXPECT_EQ(plan.capacity.additional.mib(), 512) << "539 in whole quanta";
  EXPECT_NE(plan.capacity.reason.find("every guest"), std::string::npos) << plan.capacity.reason;
  for (VmState& vm : snapshot.vms) vm.swap_limit = Bytes::MiB(100);
  EXPECT_EQ(Decide(snapshot, params).capacity.terms->bound_full.mib(), -460 + 300)
      << "what the VMs may not use is none";
  snapshot.host.swap_free = Bytes::GiB(100);
  for (VmState& vm : snapshot.vms) vm.swap_limit.reset();
  EXPECT_EQ(Decide(snapshot, params).capacity.additional.mib(), 832) << "and never more than C1";
}

// One hybrid VM with 150 MiB of cold memory, from which 400 could be taken in time.
class Recoverable : public testing::Test {
 protected:
  Recoverable() {
    node_.host.swap_free = Bytes::GiB(8);
    node_.host.pressure_some_avg10 = Permyriad{10};
    VmState& vm = node_.vms[1];
    vm.resident = Bytes::MiB(600);
    vm.spec.reclaim = Reclaim::kHybrid;
    vm.working_set.cold = Bytes::MiB(150);
    vm.working_set.seen_at = kNow;
    forecast_.vms.resize(3);
    forecast_.vms[1].reclaimed = Bytes::MiB(400);
  }
  std::int64_t Rec() const {
    return Decide(node_, Params(), forecast_).capacity.terms->recoverable.mib();
  }
  Snapshot node_ = Full();
  Forecast forecast_;
};

TEST_F(Recoverable, IsHalfOfWhatIsColdAndCanBeTakenInTime) {
  EXPECT_EQ(Rec(), 75);
  node_.vms[1].working_set.cold = Bytes::GiB(1);
  EXPECT_EQ(Rec(), (600 - 256) / 2) << "not below its owner's least, a quarter of the guest";
  node_.vms[1].spec.min_memory = Bytes::MiB(100);
  EXPECT_EQ(Rec(), 200) << "no faster than it was ever seen";
  node_.vms[1].swap_limit = Bytes::MiB(90);
  EXPECT_EQ(Rec(), 45);
  node_.host.swap_free = Bytes::MiB(50);
  EXPECT_EQ(Rec(), 25);
}

TEST_F(Recoverable, IsNothingWhereItCannotBeTakenOrNobodyKnows) {
  const auto rec = [&](auto change) {
    const Snapshot before = node_;
    change(node_);
    const std::int64_t changed = Rec();
    node_ = before;
    return changed;
  };
  EXPECT_EQ(rec([](Snapshot&) {}), 75);
  EXPECT_EQ(rec([](Snapshot& n) { n.host.swap_free.reset(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.host.swap_free = Bytes(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.host.pressure_some_avg10.reset(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.host.pressure_some_avg10 = Permyriad{11}; }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].swap_limit = Bytes(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].spec.reclaim = Reclaim::kHints; }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].exempt = "its memory is locked"; }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].leaving = true; }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].resident.reset(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].working_set.cold.reset(); }), 0);
  EXPECT_EQ(rec([](Snapshot& n) { n.vms[1].working_set.seen_at = kNow - seconds(601); }), 0);
  forecast_ = {};
  EXPECT_EQ(Rec(), 0) << "nothing was ever taken from it";
}

TEST(Decide, SwitchesHintingOnWhereItIsOff) {
  Snapshot snapshot = Full();
  VmState& vm = snapshot.vms[0];
  vm.hinting = Hinting::kNotOffered;
  EXPECT_TRUE(Decide(snapshot, Params()).actions.empty()) << "its configuration is unknown";
  vm.proof.at_next_start = false;
  ASSERT_EQ(Decide(snapshot, Params()).actions.size(), 1u);
  EXPECT_EQ(Decide(snapshot, Params()).actions[0].id.value, "a");
  vm.spec.reclaim = Reclaim::kOff;
  EXPECT_TRUE(Decide(snapshot, Params()).actions.empty()) << "its owner said no";
  vm.spec.reclaim = Reclaim::kHints;
  vm.exempt = "its memory is locked";
  EXPECT_TRUE(Decide(snapshot, Params()).actions.empty()) << "it would bring nothing";
}

TEST(Admit, GivesOrdinaryMemoryFirst) {
  VmSpec vm;
  vm.guest_memory = Bytes::MiB(1024);
  const auto admit = [&](std::int64_t unsold, std::int64_t additional) {
    return Admit({true, Bytes::MiB(unsold), Bytes::MiB(additional)}, vm, Params());
  };
  EXPECT_TRUE(admit(1152, 0).admitted);
  EXPECT_FALSE(admit(1151, 4096).admitted) << "placement standard never uses reclaimable memory";
  vm.placement = Placement::kReclaimed;
  EXPECT_EQ(admit(4096, 4096).reclaimed, Bytes());
  EXPECT_EQ(admit(0, 1152).reclaimed, Bytes::MiB(1152));
  EXPECT_EQ(admit(1000, 192).reclaimed, Bytes::MiB(192)) << "152 MiB, in whole quanta";
  EXPECT_EQ(admit(1000, 192).ordinary, Bytes::MiB(1000));
  const Verdict refused = admit(1000, 128);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.reason,
            "no room: it is promised 1152 MiB, and 1000 MiB of ordinary memory is left; it would "
            "need 192 MiB of reclaimable memory and 128 MiB is free");
  EXPECT_EQ(admit(-5, -5).reason,
            "no room: it is promised 1152 MiB, and 0 MiB of ordinary memory is left; it would "
            "need 1152 MiB of reclaimable memory and 0 MiB is free");
  EXPECT_FALSE(Admit({}, vm, Params()).admitted) << "unknown room is no room";
}

}  // namespace
}  // namespace ullage::policy
