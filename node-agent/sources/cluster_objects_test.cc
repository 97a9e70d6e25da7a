// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster_objects.h"

#include <gmock/gmock.h>

namespace ullage::sources {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kUid = "3f0c5c1e-0000-4000-8000-000000000001";

template <typename T>
kube::Item<T> Read(const std::string& json) {
  auto object = kube::ReadJson<T>(json);
  EXPECT_TRUE(object.ok()) << object.error().message();
  return {object.ok() ? *object : T{}, ""};
}

PodSample PodWith(const std::string& spec, const std::string& labels = "{}") {
  const auto pod =
      PodOf(Read<k8s::Pod>(R"({"metadata":{"name":"p","namespace":"ns","uid":"u","labels":)" +
                           labels + R"(},"spec":)" + spec + "}"));
  EXPECT_TRUE(pod);
  return pod.value_or(PodSample{});
}
std::string Needs(const std::string& memory) {
  return R"({"resources":{"requests":{"memory":)" + memory + "}}}";
}

TEST(PodOf, AddsUpWhatContainersRequest) {
  const PodSample pod = PodWith(
      R"({"containers":[{"resources":{"requests":{"memory":"1Gi","ullage.io/reclaimable-memory":"512Mi"}}},)"
      R"({"resources":{"requests":{"memory":"64Mi"}}},{}],"overhead":{"memory":"32Mi"}})");
  EXPECT_EQ(pod.memory, Bytes::MiB(1024 + 64 + 32));
  EXPECT_EQ(pod.reclaimable, Bytes::MiB(512));
  EXPECT_EQ(pod.uid, "u");
  EXPECT_EQ(pod.name_space, "ns");
  EXPECT_EQ(pod.name, "p");
  EXPECT_FALSE(pod.vmi);
  EXPECT_EQ(pod.fault, "");
}

// A launcher that asks for reclaimable memory and has failed.
std::string FailedPod(const std::string& reason, const std::string& owner = "{}",
                      const std::string& resource = kReclaimableResource) {
  return R"({"metadata":{"name":"virt-launcher-web","namespace":"ns","uid":"u",)"
         R"("creationTimestamp":"2026-01-02T03:04:05Z","ownerReferences":[)" +
         owner + R"(]},"spec":{"containers":[{"resources":{"requests":{")" + resource +
         R"(":"64Mi"}}}]},"status":{"phase":"Failed","reason":")" + reason +
         R"(","message":"Node didn't have\nenough"}})";
}
std::optional<RejectedPod> Rejected(const std::string& json) {
  return RejectedOf(Read<k8s::Pod>(json));
}

TEST(RejectedOf, TellsWhoseItWasAndWhy) {
  const auto pod = Rejected(
      FailedPod("OutOfullage.io/reclaimable-memory",
                R"({"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"r"},)"
                R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","name":"web",)"
                R"("uid":"v-1"})"));
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->uid, "u");
  EXPECT_EQ(pod->name_space, "ns");
  EXPECT_EQ(pod->name, "virt-launcher-web");
  EXPECT_EQ(pod->vmi, "web");
  EXPECT_EQ(pod->vmi_uid, "v-1");
  EXPECT_EQ(pod->reason, "OutOfullage.io/reclaimable-memory");
  EXPECT_EQ(pod->message, "Node didn't have\\x0aenough");
  EXPECT_EQ(pod->created, "2026-01-02T03:04:05Z");
  EXPECT_FALSE(PodOf(Read<k8s::Pod>(FailedPod("OutOfcpu")))) << "it holds nothing";
}

TEST(RejectedOf, IsNoPodThatRanOrAskedForNoneOfOurs) {
  EXPECT_TRUE(Rejected(FailedPod("OutOfcpu")));
  EXPECT_FALSE(Rejected(FailedPod("Evicted")));
  EXPECT_FALSE(Rejected(FailedPod("OutOfmemory", "{}", "memory")));
  EXPECT_FALSE(RejectedOf({Read<k8s::Pod>(FailedPod("OutOfcpu")).object, "not readable"}));
  std::string running = FailedPod("OutOfcpu");
  running.replace(running.find("Failed"), 6, "Pending");
  EXPECT_FALSE(Rejected(running));
}

TEST(RejectedOf, AnOwnerThatIsNoObjectOfKubeVirtsIsNone) {
  for (
      const char* owner :
      {R"({"apiVersion":"evil.io/v1","kind":"VirtualMachineInstance","name":"web","uid":"v"})",
       R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","name":"web","uid":"v"})",
       R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","name":"a/../b","uid":"v"})",
       R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","name":"web","uid":"a b"})",
       R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","name":"","uid":"v"})"}) {
    const auto pod = Rejected(FailedPod("OutOfcpu", owner));
    ASSERT_TRUE(pod) << owner;
    EXPECT_EQ(pod->vmi, "") << owner;
    EXPECT_EQ(pod->vmi_uid, "") << owner;
  }
}

TEST(PodOf, AnInitContainerCountsWhereItNeedsMore) {
  const std::string containers = R"("containers":[)" + Needs("\"100Mi\"") + "]";
  EXPECT_EQ(PodWith("{" + containers + R"(,"initContainers":[)" + Needs("\"300Mi\"") + "," +
                    Needs("\"200Mi\"") + "]}")
                .memory,
            Bytes::MiB(300));
  EXPECT_EQ(PodWith("{" + containers + R"(,"initContainers":[)" + Needs("\"50Mi\"") + "]}").memory,
            Bytes::MiB(100));
}

TEST(PodOf, ASidecarRunsBesideWhatComesAfterIt) {
  const std::string sidecar =
      R"({"restartPolicy":"Always","resources":{"requests":{"memory":"40Mi"}}})";
  const std::string containers = R"("containers":[)" + Needs("\"100Mi\"") + "]";
  EXPECT_EQ(PodWith("{" + containers + R"(,"initContainers":[)" + sidecar + "]}").memory,
            Bytes::MiB(140));
  EXPECT_EQ(PodWith("{" + containers + R"(,"initContainers":[)" + sidecar + "," +
                    Needs("\"120Mi\"") + "]}")
                .memory,
            Bytes::MiB(160));
}

TEST(PodOf, WhatThePodRequestsAsAWholeCounts) {
  EXPECT_EQ(PodWith(R"({"containers":[)" + Needs("\"100Mi\"") +
                    R"(],"resources":{"requests":{"memory":"1Gi"}}})")
                .memory,
            Bytes::GiB(1));
}

TEST(PodOf, HostileQuantitiesRaiseNoPromise) {
  for (const char* bad :
       {"\"9Ei\"", "\"99999999999999999999Ei\"", "\"-1\"", "\"cheese\"", "true"}) {
    const PodSample pod =
        PodWith(R"({"containers":[)" + Needs(bad) + "," + Needs("\"9Ei\"") + "]}");
    EXPECT_EQ(pod.memory, Bytes::Max()) << bad;
    const PodSample reclaimable = PodWith(
        R"({"containers":[{"resources":{"requests":{"memory":"1Mi","ullage.io/reclaimable-memory":)" +
        std::string(bad) + "}}}]}");
    EXPECT_EQ(reclaimable.memory, Bytes::MiB(1)) << bad;
    if (std::string(bad) == "\"9Ei\"") continue;
    EXPECT_EQ(reclaimable.reclaimable, Bytes()) << bad;
    EXPECT_THAT(reclaimable.fault, HasSubstr("ullage.io/reclaimable-memory")) << bad;
    EXPECT_NE(pod.fault, "") << bad;
  }
}

TEST(PodOf, EndedPodsAreNone) {
  for (const char* phase : {"Succeeded", "Failed"}) {
    EXPECT_FALSE(PodOf(Read<k8s::Pod>(std::string(R"({"status":{"phase":")") + phase + "\"}}")));
  }
  EXPECT_TRUE(PodOf(Read<k8s::Pod>(R"({"status":{"phase":"Pending"}})")));
}

TEST(PodOf, ALauncherNamesItsVmi) {
  const auto with = [](const std::string& labels) { return PodWith("{}", labels); };
  const std::string by = R"("kubevirt.io/created-by":")";
  EXPECT_EQ(with(R"({"kubevirt.io":"virt-launcher",)" + by + kUid + "\"}").vmi, VmId{kUid});
  EXPECT_FALSE(with("{" + by + kUid + "\"}").vmi) << "another pod of KubeVirt's";
  EXPECT_FALSE(with(R"({"kubevirt.io":"virt-launcher"})").vmi);
  for (const std::string& bad : {std::string("../../x"), std::string(65, 'a'), std::string()}) {
    const PodSample pod = with(R"({"kubevirt.io":"virt-launcher",)" + by + bad + "\"}");
    EXPECT_FALSE(pod.vmi) << bad;
    EXPECT_THAT(pod.fault, HasSubstr("no UID"));
  }
}

TEST(PodOf, WhatCannotBeReadCountsInFull) {
  kube::Item<k8s::Pod> item;
  item.object.mutable_metadata()->set_uid("u");
  item.fault = "spec: no object";
  const auto pod = PodOf(item);
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->memory, Bytes::Max());
  EXPECT_EQ(pod->fault, "spec: no object");
}

// --- VMIs

NodeVmi VmiWith(const std::string& domain, const std::string& annotations = "{}",
                const std::string& status = "{}") {
  const auto vmi = VmiOf(Read<k8s::VirtualMachineInstance>(
                             R"({"metadata":{"name":"v","namespace":"ns","uid":")" +
                             std::string(kUid) + R"(","annotations":)" + annotations +
                             R"(},"spec":{"domain":)" + domain + R"(},"status":)" + status + "}"),
                         "n1");
  EXPECT_TRUE(vmi);
  return vmi.value_or(NodeVmi{});
}
constexpr const char* kOneGiB = R"({"memory":{"guest":"1Gi"}})";

TEST(VmiOf, ReadsWhatAVmIs) {
  const NodeVmi vmi = VmiWith(R"({"memory":{"guest":"1Gi"},"cpu":{"cores":2,"sockets":3}})", "{}",
                              R"({"activePods":{"aa-1":"n1","bb-2":"n2","../x":"n1"}})");
  EXPECT_EQ(vmi.sample.spec.id.value, kUid);
  EXPECT_EQ(vmi.sample.spec.name, "ns/v");
  EXPECT_EQ(vmi.sample.spec.guest_memory, Bytes::GiB(1));
  EXPECT_EQ(vmi.sample.spec.vcpus, 6u);
  EXPECT_THAT(vmi.pods, ElementsAre("aa-1"));
  EXPECT_EQ(vmi.sample.exempt, "");
  EXPECT_EQ(vmi.sample.hints_off, "");
  EXPECT_FALSE(vmi.sample.leaving);
  EXPECT_EQ(vmi.sample.fault, "");
}

TEST(VmiOf, TheGuestsMemoryIsWhereKubeVirtLooksForIt) {
  const auto memory = [](const std::string& domain, const std::string& status = "{}") {
    return VmiWith(domain, "{}", status).sample.spec.guest_memory;
  };
  EXPECT_EQ(memory(R"({"resources":{"requests":{"memory":"512Mi"}}})"), Bytes::MiB(512));
  EXPECT_EQ(memory(R"({"resources":{"limits":{"memory":"768Mi"}}})"), Bytes::MiB(768));
  EXPECT_EQ(memory(R"({"memory":{"guest":"1Gi"},"resources":{"requests":{"memory":"512Mi"}}})"),
            Bytes::GiB(1));
  EXPECT_EQ(memory(kOneGiB, R"({"memory":{"guestCurrent":"2Gi"}})"), Bytes::GiB(2)) << "plugged in";
  for (const char* bad : {R"({})", R"({"memory":{"guest":"cheese"}})", R"({"memory":{"guest":-1}})",
                          R"({"memory":{"guest":"99Ei"}})"}) {
    EXPECT_EQ(memory(bad), Bytes::Max()) << bad;
    EXPECT_NE(VmiWith(bad).sample.fault, "") << bad;
  }
}

TEST(VmiOf, SaysWhyOneIsLeftAlone) {
  const auto exempt = [](const std::string& more) {
    return VmiWith(R"({"memory":{"guest":"1Gi"},)" + more + "}").sample.exempt;
  };
  EXPECT_EQ(exempt(R"("cpu":{"dedicatedCpuPlacement":true})"), "dedicated CPUs");
  EXPECT_EQ(exempt(R"("cpu":{"realtime":{"mask":"0"}})"), "realtime CPUs");
  EXPECT_EQ(exempt(R"("launchSecurity":{"sev":{}})"), "confidential memory (launchSecurity)");
  EXPECT_EQ(exempt(R"("devices":{"gpus":[{"name":"g"}]})"), "GPUs");
  EXPECT_EQ(exempt(R"("devices":{"interfaces":[{"name":"a"},{"name":"b","sriov":{}}]})"),
            "an SR-IOV interface");
  EXPECT_EQ(
      exempt(R"("devices":{"hostDevices":[{"name":"h"}]},"cpu":{"dedicatedCpuPlacement":true})"),
      "dedicated CPUs, host devices");
  EXPECT_EQ(VmiWith(R"({"memory":{"guest":"1Gi","hugepages":{"pageSize":"2Mi"}}})").sample.exempt,
            "huge pages");
  EXPECT_EQ(VmiWith(R"({"memory":{"guest":"1Gi","reservedOverhead":{"addedOverhead":"1Gi"}}})")
                .sample.exempt,
            "locked memory (reservedOverhead)");
  EXPECT_THAT(VmiWith(kOneGiB, R"({"ullage.io/reclaim":"off"})").sample.exempt, HasSubstr("owner"));
}

TEST(VmiOf, SaysWhyThereAreNoHints) {
  const std::string none = R"({"memory":{"guest":"1Gi"},"devices":{"autoattachMemBalloon":)";
  EXPECT_THAT(VmiWith(none + "false}}").sample.hints_off, HasSubstr("autoattachMemBalloon"));
  EXPECT_EQ(VmiWith(none + "true}}").sample.hints_off, "");
  const std::string off = R"({"kubevirt.io/free-page-reporting-disabled":")";
  EXPECT_THAT(VmiWith(kOneGiB, off + "true\"}").sample.hints_off, HasSubstr("free-page-reporting"));
  EXPECT_EQ(VmiWith(kOneGiB, off + "false\"}").sample.hints_off, "");
}

TEST(VmiOf, SaysWhetherItLeaves) {
  const auto leaves = [](const std::string& migration) {
    return VmiWith(kOneGiB, "{}", R"({"migrationState":)" + migration + "}").sample.leaving;
  };
  EXPECT_TRUE(leaves(R"({"sourceNode":"n1","targetNode":"n2"})"));
  EXPECT_FALSE(leaves(R"({"sourceNode":"n2","targetNode":"n1"})"));
  EXPECT_FALSE(leaves(R"({"sourceNode":"n1","targetNode":"n2","completed":true})"));
  EXPECT_FALSE(leaves(R"({"sourceNode":"n1","targetNode":"n2","failed":true})"));
  EXPECT_FALSE(
      leaves(R"({"sourceNode":"n1","targetNode":"n2","endTimestamp":"2026-01-01T00:00:00Z"})"));
}

TEST(VmiOf, SaysWhyOneCannotMigrate) {
  const auto with = [](const std::string& conditions, const std::string& strategy = "") {
    const auto vmi = VmiOf(Read<k8s::VirtualMachineInstance>(
                               R"({"metadata":{"uid":"u"},"spec":{"evictionStrategy":")" +
                               strategy + R"(","domain":{"memory":{"guest":"1Gi"}}},)" +
                               R"("status":{"conditions":[)" + conditions + "]}}"),
                           "n1");
    return vmi ? vmi->sample : VmiSample{};
  };
  const auto is = [](const std::string& status, const std::string& more = "") {
    return R"({"type":"Ready","status":"False"},{"type":"LiveMigratable","status":")" + status +
           "\"" + more + "}";
  };
  const std::string no = is("False", R"(,"reason":"HostDevice","message":"VMI uses\u001b it")");
  EXPECT_EQ(with(no).stays, "HostDevice: VMI uses\\x1b it");
  EXPECT_FALSE(with(no).keeps_pod);
  EXPECT_FALSE(with(no, "LiveMigrateIfPossible").keeps_pod);
  EXPECT_TRUE(with(no, "LiveMigrate").keeps_pod);
  EXPECT_FALSE(with(is("True"), "LiveMigrate").keeps_pod);
  EXPECT_EQ(with(is("False")).stays, "KubeVirt does not say why");
  EXPECT_EQ(with(is("False", R"(,"message":"m")")).stays, "m");
  EXPECT_LT(with(is("False", R"(,"reason":")" + std::string(9000, 'x') + "\"")).stays.size(), 600u);
  for (const char* may : {"True", "Unknown"}) {
    EXPECT_EQ(with(is(may)).stays, "") << may;
    EXPECT_EQ(with(is(may)).fault, "") << may;
  }
  EXPECT_EQ(with("").stays, "") << "it was not said yet";
  EXPECT_EQ(with(is("no")).stays, "");
  EXPECT_EQ(with(is("no")).fault, "its condition LiveMigratable is 'no'");
}

TEST(VmiOf, TakesItsOwnersAnnotations) {
  const VmSpec spec =
      VmiWith(kOneGiB, R"({"ullage.io/reclaim":"hybrid","ullage.io/placement":"reclaimed",)"
                       R"("ullage.io/guest-agent":"allow","ullage.io/when-full":"ordinary",)"
                       R"("ullage.io/min-memory":"256Mi","ullage.io/shares":"2000"})")
          .sample.spec;
  EXPECT_EQ(spec.reclaim, Reclaim::kHybrid);
  EXPECT_EQ(spec.placement, Placement::kReclaimed);
  EXPECT_EQ(spec.guest_access, GuestAccess::kAllow);
  EXPECT_EQ(spec.min_memory, Bytes::MiB(256));
  EXPECT_EQ(spec.shares, 2000u);
  EXPECT_EQ(spec.bad_setting, "");
}

TEST(VmiOf, BadAnnotationsAreAllNamedAndTheirDefaultsApply) {
  const std::string endless(5000, 'x');
  const VmSpec spec =
      VmiWith(kOneGiB, R"({"ullage.io/reclaim":"OFF","ullage.io/placement":")" + endless +
                           R"(","ullage.io/guest-agent":"","ullage.io/when-full":"\u001b[2J",)"
                           R"("ullage.io/min-memory":"-1","ullage.io/shares":"0"})")
          .sample.spec;
  EXPECT_EQ(spec.reclaim, Reclaim::kHints);
  EXPECT_EQ(spec.placement, Placement::kStandard);
  EXPECT_EQ(spec.guest_access, GuestAccess::kUnset);
  EXPECT_FALSE(spec.min_memory);
  EXPECT_EQ(spec.shares, 1000u);
  for (const char* key :
       {"reclaim", "placement", "guest-agent", "when-full", "min-memory", "shares"}) {
    EXPECT_THAT(spec.bad_setting, HasSubstr(std::string("ullage.io/") + key));
  }
  EXPECT_LT(spec.bad_setting.size(), 2048u);
  EXPECT_EQ(spec.bad_setting.find('\x1b'), std::string::npos);
}

TEST(VmiOf, OneThatCannotBeReadHasItsNameAndMayHoldAll) {
  kube::Item<k8s::VirtualMachineInstance> item;
  item.object.mutable_metadata()->set_uid(kUid);
  item.object.mutable_metadata()->set_name("v");
  item.fault = "spec.domain: no object";
  const auto vmi = VmiOf(item, "n1");
  ASSERT_TRUE(vmi);
  EXPECT_EQ(vmi->sample.name, "v");
  EXPECT_EQ(vmi->sample.spec.guest_memory, Bytes::Max());
  EXPECT_EQ(vmi->sample.fault, "spec.domain: no object");
  EXPECT_FALSE(
      VmiOf(Read<k8s::VirtualMachineInstance>(R"({"status":{"phase":"Succeeded"}})"), "n1"));
}

TEST(NodeOf, ReadsWhatItSellsAndWhatIsPublished) {
  const NodeFacts node = NodeOf(Read<k8s::Node>(
      R"({"metadata":{"uid":"u","labels":{"a":"b"}},"status":{"allocatable":{"memory":"3Gi"},)"
      R"("capacity":{"ullage.io/reclaimable-memory":"128Mi"}}})"));
  EXPECT_EQ(node.allocatable, Bytes::GiB(3));
  EXPECT_EQ(node.published, Bytes::MiB(128));
  EXPECT_EQ(node.labels.at("a"), "b");
  const NodeFacts bare = NodeOf(Read<k8s::Node>(R"({"status":{"allocatable":{"memory":"-3"}}})"));
  EXPECT_FALSE(bare.allocatable);
  EXPECT_FALSE(bare.published) << "absent is not zero";
  EXPECT_NE(bare.fault, "");
}

}  // namespace
}  // namespace ullage::sources
