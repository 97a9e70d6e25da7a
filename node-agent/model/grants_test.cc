// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/grants.h"

#include <gtest/gtest.h>

#include "node-agent/model/fold.h"

namespace ullage {
namespace {

PodSample Pod(const char* uid, std::int64_t mib, const char* vmi = nullptr,
              std::int64_t reclaimable_mib = 0) {
  PodSample pod{uid, "ns", uid, Bytes::MiB(mib), Bytes::MiB(reclaimable_mib), std::nullopt, ""};
  if (vmi != nullptr) pod.vmi = VmId{vmi};
  return pod;
}

VmiSample Vmi(const char* id) {
  VmiSample vmi;
  vmi.spec.id.value = id;
  vmi.spec.name = std::string("ns/") + id;
  vmi.spec.guest_memory = Bytes::MiB(1024);
  return vmi;
}

TEST(GrantsOf, AreTheRequestsOfPodsThatAreVms) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a", 512), Pod("p2", 100)};
  node.vmis.Edit() = {Vmi("a"), Vmi("without a pod here")};
  const auto grants = GrantsOf(node);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].spec.id.value, "a");
  EXPECT_EQ(grants[0].spec.name, "ns/a");
  EXPECT_EQ(grants[0].spec.guest_memory, Bytes::MiB(1024));
  EXPECT_EQ(grants[0].ordinary, Bytes::MiB(700));
  EXPECT_EQ(grants[0].reclaimed, Bytes::MiB(512));
}

TEST(GrantsOf, TwoPodsOfOneVmiCountBoth) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a", 64), Pod("p2", 300, "a", 64)};
  const auto grants = GrantsOf(node);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].ordinary, Bytes::MiB(1000));
  EXPECT_EQ(grants[0].reclaimed, Bytes::MiB(128));
}

TEST(GrantsOf, ALauncherWithoutAVmiCountsUnderItsPodsName) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a")};
  const auto grants = GrantsOf(node);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].spec.id.value, "a");
  EXPECT_EQ(grants[0].spec.name, "ns/p1");
  EXPECT_EQ(grants[0].ordinary, Bytes::MiB(700));
}

// --- What Fold makes of them

Samples OnNode(NodeSample node) {
  Samples samples;
  samples.grants = SharedList(GrantsOf(node));
  samples.node = std::move(node);
  return samples;
}

TEST(FoldOnANode, PromisedIsWhatThePodAskedFor) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a", 512)};
  node.vmis.Edit() = {Vmi("a")};
  Samples samples = OnNode(node);
  VmSample vm;
  vm.qemu.spec.id.value = "a";
  vm.qemu.spec.guest_memory = Bytes::MiB(1024);
  samples.vms.push_back(vm);
  const Snapshot snapshot = Fold({}, std::move(samples), Overhead{});
  ASSERT_EQ(snapshot.vms.size(), 1u);
  EXPECT_FALSE(snapshot.vms[0].bound_only);
  EXPECT_EQ(snapshot.vms[0].promised, Bytes::MiB(1212));
  EXPECT_EQ(snapshot.vms[0].ordinary, Bytes::MiB(700));
  EXPECT_EQ(snapshot.vms[0].reclaimed, Bytes::MiB(512));
}

TEST(FoldOnANode, TheVmiSaysWhatItsOwnerWantsToday) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a")};
  node.vmis.Edit() = {Vmi("a")};
  node.vmis.Edit()[0].spec.reclaim = Reclaim::kOff;
  node.vmis.Edit()[0].spec.bad_setting = "bad";
  node.vmis.Edit()[0].exempt = "dedicated CPUs";
  node.vmis.Edit()[0].hints_off = "off";
  node.vmis.Edit()[0].leaving = true;
  node.vmis.Edit()[0].stays = "HostDevices";
  node.vmis.Edit()[0].keeps_pod = true;
  Samples samples = OnNode(node);
  VmSample vm;
  vm.qemu.spec.id.value = "a";
  vm.qemu.spec.guest_memory = Bytes::MiB(2048);  // by its domain
  samples.vms.push_back(vm);
  const Snapshot snapshot = Fold({}, std::move(samples), Overhead{});
  const VmState& state = snapshot.vms.at(0);
  EXPECT_EQ(state.spec.name, "ns/a");
  EXPECT_EQ(state.spec.reclaim, Reclaim::kOff);
  EXPECT_EQ(state.spec.bad_setting, "bad");
  EXPECT_EQ(state.spec.guest_memory, Bytes::MiB(2048)) << "the larger of the two";
  EXPECT_EQ(state.exempt, "dedicated CPUs");
  EXPECT_EQ(state.hints_off, "off");
  EXPECT_TRUE(state.leaving);
  EXPECT_EQ(state.stays, "HostDevices");
  EXPECT_TRUE(state.keeps_pod);
}

TEST(FoldOnANode, AVmiThatIsNotExemptTakesNothingBackFromItsDomain) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a")};
  node.vmis.Edit() = {Vmi("a")};
  Samples samples = OnNode(node);
  VmSample vm;
  vm.qemu.spec.id.value = "a";
  vm.qemu.exempt = "its memory is locked";
  samples.vms.push_back(vm);
  EXPECT_EQ(Fold({}, std::move(samples), Overhead{}).vms.at(0).exempt, "its memory is locked");
}

TEST(FoldOnANode, APodWithoutAQemuIsBoundOnly) {
  NodeSample node;
  node.pods.Edit() = {Pod("p1", 700, "a")};
  const Snapshot snapshot = Fold({}, OnNode(node), Overhead{});
  ASSERT_EQ(snapshot.vms.size(), 1u);
  EXPECT_TRUE(snapshot.vms[0].bound_only);
  EXPECT_EQ(snapshot.vms[0].promised, Bytes::MiB(700));
}

}  // namespace
}  // namespace ullage
