// SPDX-License-Identifier: Apache-2.0
// The sum on a Kubernetes node: what the scheduler counts is what its pods asked for.
#include <gtest/gtest.h>

#include "node-agent/policy/capacity.h"

namespace ullage::policy {
namespace {

constexpr BootTime kNow{std::chrono::hours(1)};

PolicyParams Params() {
  PolicyParams params;
  params.reserve = Bytes();
  params.history_min = seconds(600);
  params.rise_delay = seconds(0);
  params.rise_step = Permyriad{10000};
  params.ratio_cap = Permyriad{20000};
  return params;
}

PodSample Pod(const char* uid, std::int64_t mib, const char* vmi = nullptr,
              std::int64_t reclaimable_mib = 0) {
  PodSample pod{uid, "ns", uid, Bytes::MiB(mib), Bytes::MiB(reclaimable_mib), std::nullopt, ""};
  if (vmi != nullptr) pod.vmi = VmId{vmi};
  return pod;
}

VmState Vm(const char* id, std::int64_t promised_mib, std::int64_t resident_mib) {
  VmState vm;
  vm.spec.id.value = id;
  vm.spec.guest_memory = Bytes::MiB(900);
  vm.promised = Bytes::MiB(promised_mib);
  vm.ordinary = vm.promised;
  vm.resident = Bytes::MiB(resident_mib);
  vm.peak = CeilingOf(vm);  // it has touched all of it before
  vm.answered_at = kNow;
  vm.watched_since = kNow - seconds(600);
  return vm;
}

// 4,000 MiB, of which the node sells 3,600: two VMs of 1,000, 600 of another pod, and 1,000 left.
Snapshot Node() {
  Snapshot snapshot;
  snapshot.at.boot = kNow;
  snapshot.host.total = Bytes::MiB(4000);
  snapshot.host.available = Bytes::MiB(3500);
  snapshot.vms = {Vm("a", 1000, 200), Vm("b", 1000, 200)};
  snapshot.vms_listed_at = kNow;
  NodeSample node;
  node.heard_at = kNow;
  node.allocatable = Bytes::MiB(3600);
  node.pods.Edit() = {Pod("pa", 1000, "a"), Pod("pb", 1000, "b"), Pod("pc", 600)};
  snapshot.node = node;
  return snapshot;
}

Capacity Of(const Snapshot& snapshot, const PolicyParams& params = Params()) {
  return Decide(snapshot, params).capacity;
}

TEST(DecideOnANode, AddsUpByHand) {
  const Capacity capacity = Of(Node());
  const CapacityTerms& terms = *capacity.terms;
  EXPECT_EQ(terms.growth.mib(), 200) << "2 × 10 % of 1,000";
  EXPECT_EQ(terms.buffer.mib(), 400) << "40 % of 1,000";
  EXPECT_EQ(terms.unsold.mib(), 1000) << "3,600 − 1,000 − 1,000 − 600";
  EXPECT_EQ(terms.not_ours.mib(), 600) << "what the other pod holds is unknown";
  EXPECT_EQ(terms.bound.mib(), 3500 - 200 - 400 - 1000 - 600);
  EXPECT_EQ(terms.cap.mib(), 8000 - 2000 - 600) << "the other pod was promised its memory, too";
  EXPECT_EQ(capacity.additional.mib(), 1280) << "1,300 in whole quanta";
  EXPECT_EQ(capacity.promised.mib(), 2000);
}

// Node() under an agent that has just been started, after one that had `mib` of C.
Snapshot Inherits(std::int64_t mib) {
  Snapshot snapshot = Node();
  snapshot.carried.inherited = Inherited{Bytes::MiB(mib), Bytes(), kNow + seconds(100), {}};
  return snapshot;
}

PolicyParams Slow() {
  PolicyParams params = Params();
  params.rise_delay = seconds(300);
  return params;
}

TEST(DecideOnANode, WhatTheLastAgentHadIsHadAgainAtOnce) {
  EXPECT_EQ(Of(Node(), Slow()).additional, Bytes()) << "without it: after five minutes of quiet";
  EXPECT_EQ(Of(Inherits(640), Slow()).additional, Bytes::MiB(640)) << "no more than it had";
  EXPECT_EQ(Of(Inherits(6400), Slow()).additional, Bytes::MiB(1280)) << "no more than is safe now";
  Snapshot bound = Inherits(640);
  bound.node->pods.Edit()[2].reclaimable = Bytes::MiB(128);
  EXPECT_EQ(Of(bound, Slow()).additional, Bytes::MiB(512)) << "what was bound since came out of it";
}

TEST(DecideOnANode, TicksThatKnowTooLittleDoNotLoseWhatWasInherited) {
  Snapshot snapshot = Inherits(640);
  snapshot.node->heard_at.reset();
  Plan plan = Decide(snapshot, Slow());
  EXPECT_EQ(plan.capacity.additional, Bytes());
  snapshot = Node();
  snapshot.carried = plan.carry;
  snapshot.node->fault = "the API server is away";
  plan = Decide(snapshot, Slow());
  EXPECT_EQ(plan.capacity.additional, Bytes()) << "nothing rises while it is";
  snapshot = Node();
  snapshot.carried = plan.carry;
  plan = Decide(snapshot, Slow());
  EXPECT_EQ(plan.capacity.additional, Bytes::MiB(640));

  snapshot.host.available = Bytes::MiB(2500);
  snapshot.carried = plan.carry;
  plan = Decide(snapshot, Slow());
  EXPECT_LT(plan.capacity.additional, Bytes::MiB(640));
  snapshot = Node();
  snapshot.carried = plan.carry;
  EXPECT_LT(Of(snapshot, Slow()).additional, Bytes::MiB(640)) << "it is had again once";
}

TEST(DecideOnANode, WhatWasInheritedIsWorthNothingLater) {
  Snapshot snapshot = Inherits(640);
  snapshot.carried.inherited->until = kNow;
  const Plan plan = Decide(snapshot, Slow());
  EXPECT_EQ(plan.capacity.additional, Bytes());
  EXPECT_FALSE(plan.carry.inherited);
}

TEST(DecideOnANode, TheKubeletsViewBoundsWhatIsAvailable) {
  Snapshot snapshot = Node();
  snapshot.host.until_eviction = Bytes::MiB(3600);
  snapshot.host.pods_left = Bytes::MiB(3700);
  EXPECT_EQ(Of(snapshot).terms->available.mib(), 3500) << "the machine has less";
  snapshot.host.until_eviction = Bytes::MiB(3300);
  EXPECT_EQ(Of(snapshot).terms->available.mib(), 3300);
  EXPECT_EQ(Of(snapshot).terms->bound.mib(), 3300 - 200 - 400 - 1000 - 600);
  snapshot.host.pods_left = Bytes::MiB(3200);
  EXPECT_EQ(Of(snapshot).terms->available.mib(), 3200);
  EXPECT_EQ(Of(snapshot).terms->until_eviction->mib(), 3300) << "each is shown";
  snapshot.host.until_eviction = Bytes::MiB(-5);
  EXPECT_EQ(Of(snapshot).additional, Bytes()) << "the kubelet evicts already";
}

TEST(DecideOnANode, WhatAnotherPodHoldsIsNotKeptForItOnceMore) {
  Snapshot snapshot = Node();
  snapshot.node->pod_working_sets["pc"] = Bytes::MiB(450);
  EXPECT_EQ(Of(snapshot).terms->not_ours.mib(), 150);
  snapshot.node->pod_working_sets["pc"] = Bytes::MiB(5000);
  EXPECT_EQ(Of(snapshot).terms->not_ours, Bytes());
}

TEST(DecideOnANode, WhoeverHoldsTheResourceCountsAsGranted) {
  Snapshot snapshot = Node();
  snapshot.node->pods.Edit()[2].reclaimable = Bytes::MiB(128);
  const Capacity capacity = Of(snapshot);
  EXPECT_EQ(capacity.granted.mib(), 128);
  EXPECT_EQ(capacity.terms->not_ours.mib(), 728);
  EXPECT_EQ(capacity.published, capacity.granted + capacity.additional);
}

TEST(DecideOnANode, ABindAloneLeavesThePublishedValueAsItIs) {
  Snapshot snapshot = Node();
  const Plan before = Decide(snapshot, Params());
  snapshot.carried = before.carry;
  VmState extra = Vm("c", 600, 0);
  extra.bound_only = true;
  extra.resident.reset();
  extra.ordinary = Bytes::MiB(88);
  extra.reclaimed = Bytes::MiB(512);
  extra.spec.guest_memory = Bytes();
  snapshot.vms.push_back(extra);
  snapshot.node->pods.Edit().push_back(Pod("pd", 88, "c", 512));
  const Capacity after = Of(snapshot);
  EXPECT_EQ(after.granted.mib(), 512);
  EXPECT_LE(after.published, before.capacity.published);
  EXPECT_GE(after.published, after.granted);
}

TEST(DecideOnANode, WhatIsUnknownPromisesNothing) {
  for (int what = 0; what < 3; ++what) {
    Snapshot snapshot = Node();
    snapshot.node->fault = "because";
    if (what == 0) snapshot.node->heard_at.reset();
    if (what == 1) snapshot.node->allocatable.reset();
    if (what == 2) snapshot.node->pods.Edit()[2].memory = Bytes::Max();
    const Capacity capacity = Of(snapshot);
    EXPECT_EQ(capacity.additional, Bytes()) << what;
    EXPECT_FALSE(capacity.reason.empty()) << what;
    EXPECT_EQ(capacity.reason.find("because") != std::string::npos, what < 2) << capacity.reason;
  }
}

TEST(DecideOnANode, NothingRisesWhileTheApiServerIsAway) {
  for (const bool silent : {false, true}) {
    Snapshot snapshot = Node();
    snapshot.carried.additional = Bytes::MiB(640);
    if (silent) snapshot.node->heard_at = kNow - seconds(181);
    if (!silent) snapshot.node->fault = "connection refused";
    Capacity capacity = Of(snapshot);
    EXPECT_EQ(capacity.additional.mib(), 640);
    EXPECT_NE(capacity.reason.find("API server"), std::string::npos) << capacity.reason;
    snapshot.host.available = Bytes::MiB(2500);  // 300 are left
    capacity = Of(snapshot);
    EXPECT_EQ(capacity.additional.mib(), 256) << "it falls all the same";
  }
}

TEST(DecideOnANode, WhoIsLeftAloneOrLeavesMayClaimAll) {
  const auto growth = [](auto change) {
    Snapshot snapshot = Node();
    change(snapshot.vms[0]);
    snapshot.vms[0].proof.offered = false;
    snapshot.vms[0].proof.at_next_start = false;
    snapshot.vms[0].hinting = Hinting::kNotOffered;
    return Decide(snapshot, Params());
  };
  EXPECT_EQ(growth([](VmState&) {}).vms[0].growth.mib(), 100);
  EXPECT_EQ(growth([](VmState&) {}).actions.size(), 1u);
  const Plan exempt = growth([](VmState& vm) { vm.exempt = "dedicated CPUs"; });
  EXPECT_EQ(exempt.vms[0].growth.mib(), 800);
  EXPECT_NE(exempt.vms[0].reason.find("dedicated CPUs"), std::string::npos);
  EXPECT_TRUE(exempt.actions.empty());
  EXPECT_TRUE(growth([](VmState& vm) { vm.hints_off = "annotation"; }).actions.empty());
  EXPECT_EQ(growth([](VmState& vm) { vm.leaving = true; }).vms[0].growth.mib(), 800);
}

// memoryOvercommit of KubeVirt: the pod asks for less than its guest may take.
TEST(DecideOnANode, AGuestLargerThanItsRequestMayGrowToItsOwnSize) {
  Snapshot snapshot = Node();
  snapshot.vms[0].spec.guest_memory = Bytes::MiB(2000);
  snapshot.vms[0].peak = Bytes::MiB(2000);
  const Plan plan = Decide(snapshot, Params());
  EXPECT_EQ(plan.vms[0].growth.mib(), 200) << "10 % of 2,000";
  EXPECT_EQ(plan.capacity.promised.mib(), 2000) << "what was promised stays what was asked for";
  EXPECT_EQ(plan.capacity.terms->buffer.mib(), 800);
  EXPECT_EQ(plan.capacity.terms->bound_full.mib(), 3500 - 1800 - 800 - 800 - 1000 - 600);
}

}  // namespace
}  // namespace ullage::policy
