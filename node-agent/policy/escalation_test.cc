// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/escalation.h"

#include <gtest/gtest.h>

#include "node-agent/policy/hybrid_fixture.h"

namespace ullage::policy {
namespace {

using Kind = Action::Kind;

Squeeze At(HybridHost& host, std::int64_t left_mib) {
  host.left = Bytes::MiB(left_mib);
  return host.Tick().squeeze;
}

TEST(Squeeze, FallsAtOnceAndRisesWithAMargin) {
  HybridHost host;
  EXPECT_EQ(At(host, 1000), Squeeze::kNone);
  EXPECT_EQ(At(host, 999), Squeeze::kHold);
  EXPECT_EQ(host.plan.capacity.additional, Bytes()) << "nothing more is promised, in that tick";
  EXPECT_EQ(At(host, 1124), Squeeze::kHold) << "an eighth of the buffer above the mark";
  EXPECT_EQ(At(host, 1125), Squeeze::kNone);
  EXPECT_EQ(At(host, 639), Squeeze::kShrink);
  EXPECT_EQ(At(host, 764), Squeeze::kShrink);
  EXPECT_EQ(At(host, 765), Squeeze::kHold);
  EXPECT_EQ(At(host, 319), Squeeze::kLimit);
  EXPECT_EQ(At(host, 159), Squeeze::kEvict);
  EXPECT_EQ(At(host, -1), Squeeze::kEvict);
  EXPECT_EQ(At(host, 5000), Squeeze::kNone);
}

TEST(Squeeze, IsNoneWhereEveryPromiseCanBeMet) {
  HybridHost host;
  host.Add("a", 1050);
  Plan plan;
  plan.capacity.terms.emplace();
  plan.capacity.terms->buffer = Bytes::MiB(1000);
  plan.capacity.terms->available = Bytes::MiB(50);
  EXPECT_EQ(SqueezeOf(host.snapshot, plan.capacity, {}), Squeeze::kNone) << "it may claim 50";
  plan.capacity.terms->available = Bytes::MiB(49);
  EXPECT_EQ(SqueezeOf(host.snapshot, plan.capacity, {}), Squeeze::kEvict);
}

TEST(Squeeze, StaysWhileTheHostIsUnknown) {
  HybridHost host;
  host.snapshot.carried.escalation.squeeze = Squeeze::kLimit;
  EXPECT_EQ(SqueezeOf(host.snapshot, Capacity{}, {}), Squeeze::kLimit);
}

HybridHost Cluster() {
  HybridHost host;
  host.Add("large", 1000, Reclaim::kHints);
  host.Add("small", 300, Reclaim::kHints);
  host.Add("guest", 500, Reclaim::kHints).reclaimed = Bytes::MiB(512);
  host.Add("dear", 600, Reclaim::kHints).reclaimed = Bytes::MiB(512);
  host.vm("dear").spec.shares = 4000;
  host.OnKubernetes();
  return host;
}

TEST(Escalate, MigratesOneOfTheLeastValue) {
  HybridHost host = Cluster();
  host.left = Bytes::MiB(310);
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kMigrate);
  EXPECT_EQ(host.plan.actions[0].id.value, "large");
  for (int i = 0; i < 29; ++i) EXPECT_TRUE(host.Tick().actions.empty()) << "one each 30 s";
  host.vm("large").leaving = true;
  EXPECT_TRUE(host.Tick().actions.empty()) << "and one at a time";
  host.vm("large").leaving = false;
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].id.value, "guest") << "the first was asked and did not go";
}

TEST(Escalate, EvictsOnlyWhatStandsOnReclaimedMemory) {
  HybridHost host = Cluster();
  host.left = Bytes::MiB(100);
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kEvict);
  EXPECT_EQ(host.plan.actions[0].id.value, "guest");
  host.Tick(seconds(30));
  EXPECT_EQ(host.plan.actions[0].id.value, "dear");
  for (const char* id : {"guest", "dear"}) host.vm(id).reclaimed = Bytes();
  host.Tick(seconds(30));
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kMigrate);
  EXPECT_EQ(host.plan.actions[0].id.value, "large");
}

TEST(Escalate, DoesNotChooseWhomKubeVirtWouldRefuse) {
  HybridHost host = Cluster();
  host.left = Bytes::MiB(310);
  host.vm("large").stays = "DisksNotLiveMigratable: its disk is not shared";
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kMigrate);
  EXPECT_EQ(host.plan.actions[0].id.value, "guest") << "in the first tick: no turn is lost";
  for (const char* id : {"small", "guest", "dear"}) host.vm(id).stays = "HostDevices";
  host.vm("small").exempt = "host devices";
  EXPECT_TRUE(host.Tick(seconds(30)).actions.empty());
  EXPECT_EQ(host.plan.nobody_goes,
            "no VM can be asked to leave this node; KubeVirt cannot migrate 3 of 4 VMs; 1 of 4 VMs "
            "are left alone");
  host.left = Bytes::MiB(100);
  EXPECT_EQ(host.Tick().actions.at(0).kind, Kind::kEvict) << "that it can";
  EXPECT_EQ(host.plan.nobody_goes, "");
  host.vm("guest").keeps_pod = true;
  EXPECT_EQ(host.Tick(seconds(30)).actions.at(0).id.value, "dear");
  host.vm("dear").keeps_pod = true;
  EXPECT_TRUE(host.Tick(seconds(30)).actions.empty());
  EXPECT_NE(host.plan.nobody_goes, "");
}

TEST(Escalate, MigratesOthersWhereNobodyIsToBeEvicted) {
  HybridHost host = Cluster();
  host.left = Bytes::MiB(100);
  host.vm("guest").stays = host.vm("dear").stays = "HostDevices";
  host.params.hybrid.last_step = LastStep::kMigrate;
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kMigrate);
  EXPECT_EQ(host.plan.actions[0].id.value, "large");
}

TEST(Escalate, DoesNothingWhereItMayNot) {
  const auto acts = [](auto change) {
    HybridHost host = Cluster();
    host.left = Bytes::MiB(100);
    change(host);
    return !host.Tick().actions.empty();
  };
  EXPECT_TRUE(acts([](HybridHost&) {}));
  EXPECT_FALSE(acts([](HybridHost& h) { h.left = Bytes::MiB(330); }));
  EXPECT_FALSE(acts([](HybridHost& h) { h.snapshot.node.reset(); }));
  EXPECT_FALSE(acts([](HybridHost& h) { h.snapshot.node->fault = "it does not answer"; }));
  EXPECT_FALSE(acts([](HybridHost& h) { h.snapshot.node->heard_at.reset(); }));
  EXPECT_FALSE(acts([](HybridHost& h) { h.snapshot.node->vmis.Edit().clear(); }));
  EXPECT_FALSE(acts([](HybridHost& h) {
    for (VmState& vm : h.snapshot.vms) vm.exempt = "host devices";
  }));
  EXPECT_FALSE(acts([](HybridHost& h) {
    for (VmState& vm : h.snapshot.vms) vm.spec.reclaim = Reclaim::kOff;
  }));
}

}  // namespace
}  // namespace ullage::policy
