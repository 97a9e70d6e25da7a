// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/json.h"

#include <gmock/gmock.h>

#include "node-agent/kube/quantity.h"
#include "node-agent/kube/resource.h"

namespace ullage::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Json, ReadsAVmiAndPassesOverTheRest) {
  const auto vmi = ReadJson<k8s::VirtualMachineInstance>(R"({
    "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
    "metadata": {"name": "vm2", "namespace": "default", "generation": 8, "uid": "0beb9084",
      "resourceVersion": "2503", "annotations": {"ullage.io/placement": "reclaimed"},
      "creationTimestamp": "2026-11-21T08:32:21Z", "managedFields": [{"fieldsV1": {"f:a": {}}}]},
    "spec": {"domain": {
      "cpu": {"cores": 2, "realtime": {"mask": "0-3"}, "dedicatedCpuPlacement": true},
      "devices": {"autoattachMemBalloon": false, "gpus": [{"name": "g", "deviceName": "d"}],
        "interfaces": [{"name": "a", "sriov": {}}, {"name": "b", "bridge": {}}]},
      "memory": {"guest": 1073741824, "hugepages": {"pageSize": "2Mi"}},
      "resources": {"limits": {"ullage.io/reclaimable-memory": "512Mi"},
                    "requests": {"memory": "256Mi"}}}},
    "status": {"activePods": {"460c5c93": "n1"}, "nodeName": "n1", "phase": "Running",
      "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null,
                      "lastTransitionTime": null}],
      "guestOSInfo": {"kernelRelease": "6.1"}, "runtimeUser": 107}})");
  ASSERT_TRUE(vmi.ok()) << vmi.error().message();
  EXPECT_EQ(vmi->metadata().resource_version(), "2503");
  EXPECT_EQ(vmi->metadata().annotations().at("ullage.io/placement"), "reclaimed");
  const auto& domain = vmi->spec().domain();
  EXPECT_EQ(*ParseQuantity(domain.memory().guest()), 1073741824);
  EXPECT_EQ(domain.memory().hugepages().page_size(), "2Mi");
  EXPECT_TRUE(domain.cpu().has_realtime());
  EXPECT_TRUE(domain.cpu().dedicated_cpu_placement());
  EXPECT_TRUE(domain.devices().has_autoattach_mem_balloon());
  EXPECT_FALSE(domain.devices().autoattach_mem_balloon());
  EXPECT_TRUE(domain.devices().interfaces(0).has_sriov());
  EXPECT_FALSE(domain.devices().interfaces(1).has_sriov());
  EXPECT_FALSE(domain.has_launch_security());
  EXPECT_EQ(*ParseQuantity(domain.resources().limits().at("ullage.io/reclaimable-memory")),
            std::int64_t{512} << 20);
  EXPECT_EQ(vmi->status().active_pods().at("460c5c93"), "n1");
  EXPECT_EQ(vmi->status().guest_os_info().kernel_release(), "6.1");
  EXPECT_FALSE(vmi->status().has_memory());  // old KubeVirts have none
  EXPECT_EQ(vmi->status().conditions(0).last_transition_time(), "");
}

TEST(Json, ReadsAPodAndANode) {
  const auto pod = ReadJson<k8s::Pod>(R"({"metadata": {"ownerReferences": [
      {"kind": "VirtualMachineInstance", "uid": "u", "controller": true}]},
    "spec": {"nodeName": "n1", "overhead": {"memory": "1Mi"}, "containers": [{"name": "compute",
      "resources": {"requests": {"cpu": "100m", "memory": "522715137"}}}],
      "initContainers": [{"name": "i", "restartPolicy": "Always"}]},
    "status": {"phase": "Running", "qosClass": "Burstable",
      "containerStatuses": [{"name": "compute", "containerID": "containerd://a", "ready": true}]}})");
  ASSERT_TRUE(pod.ok()) << pod.error().message();
  EXPECT_TRUE(pod->metadata().owner_references(0).controller());
  EXPECT_EQ(pod->spec().containers(0).name(), "compute");
  EXPECT_EQ(*ParseQuantity(pod->spec().containers(0).resources().requests().at("cpu")), 1);
  EXPECT_EQ(pod->status().container_statuses(0).container_id(), "containerd://a");
  const auto node = ReadJson<k8s::Node>(R"({"status": {"capacity": {"memory": "8Gi"},
    "allocatable": {"memory": "7Gi"}, "nodeInfo": {"bootID": "b", "kubeletVersion": "v1.20.2"}}})");
  ASSERT_TRUE(node.ok()) << node.error().message();
  EXPECT_EQ(*ParseQuantity(node->status().allocatable().at("memory")), std::int64_t{7} << 30);
  EXPECT_EQ(node->status().node_info().boot_id(), "b");
}

TEST(Json, RefusesWhatIsNoSuchObject) {
  for (const char* text :
       {"", "null", "[]", "1", "{", "{\"metadata\": 1}", "{\"metadata\": {\"name\": {}}}",
        "{\"metadata\": {\"labels\": [1]}}", "{\"spec\": \"x\"}", "not json", "{} {}"}) {
    const auto pod = ReadJson<k8s::Pod>(text);
    ASSERT_FALSE(pod.ok()) << text;
    EXPECT_EQ(pod.error().code(), Code::kInvalid) << text;
  }
}

TEST(Json, NestingWithoutAnEndIsRefused) {
  std::string deep = "{\"x\":";
  for (int i = 0; i < 100000; ++i) deep += "[";
  EXPECT_FALSE(ReadJson<k8s::Pod>(deep).ok());
}

TEST(Json, WritesWhatTheApiServerReads) {
  k8s::Lease lease;
  lease.set_api_version("coordination.k8s.io/v1");
  lease.set_kind("Lease");
  lease.mutable_metadata()->set_name("a");
  lease.mutable_spec()->set_holder_identity("me");
  lease.mutable_spec()->set_lease_duration_seconds(15);
  const auto text = WriteJson(lease);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text,
            R"({"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},)"
            R"("spec":{"holderIdentity":"me","leaseDurationSeconds":15}})");
}

TEST(Json, SplitsAListIntoItsItems) {
  const auto split = SplitItems(
      R"({"metadata": {"resourceVersion": "7", "continue": "c"}, "items": [{"a": 1}, 2]})");
  ASSERT_TRUE(split.ok());
  EXPECT_EQ(split->metadata.resource_version(), "7");
  EXPECT_EQ(split->metadata.continue_(), "c");
  EXPECT_THAT(split->items, ElementsAre(R"({"a":1})", "2"));
  EXPECT_TRUE(SplitItems(R"({"items": null})").value().items.empty());
  for (const char* text : {"", "[]", "{\"items\": 1}", "{\"metadata\": 1}", "{"}) {
    EXPECT_FALSE(SplitItems(text).ok()) << text;
  }
}

TEST(JsonPatch, EscapesPathsAndValues) {
  EXPECT_EQ(
      JsonPatch()
          .Add({"status", "capacity", "ullage.io/reclaimable-memory"}, "64Mi")
          .Remove({"a~b", "c\"d"})
          .Test({"metadata", "resourceVersion"}, "7\n")
          .Text(),
      R"([{"op":"add","path":"/status/capacity/ullage.io~1reclaimable-memory","value":"64Mi"},)"
      R"({"op":"remove","path":"/a~0b/c\"d"},)"
      R"({"op":"test","path":"/metadata/resourceVersion","value":"7\n"}])");
  EXPECT_EQ(JsonPatch().Text(), "[]");
}

TEST(Resource, MakesPaths) {
  EXPECT_EQ(*PathOf({kNodes, "", "n1", "status"}), "/api/v1/nodes/n1/status");
  EXPECT_EQ(*PathOf({kPods}), "/api/v1/pods");
  EXPECT_EQ(*PathOf({kVmis, "default", "vm"}),
            "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm");
  EXPECT_EQ(*PathOf({kLeases, "kube-system", "a b?c#d"}),
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/a%20b%3Fc%23d");
}

TEST(Resource, ANameIsNeverMoreThanOnePiece) {
  for (const char* name : {".", "..", "a/b", "/", "a%2fb", "../../secrets"}) {
    EXPECT_EQ(PathOf({kPods, "default", name}).error().code(), Code::kInvalid) << name;
    EXPECT_EQ(PathOf({kPods, name, "a"}).error().code(), Code::kInvalid) << name;
  }
  EXPECT_FALSE(PathOf({kPods, "default", "", "eviction"}).ok());
}

TEST(Resource, EncodesQueries) {
  EXPECT_EQ(PercentEncode("kubevirt.io/nodeName=n1,a!=b"),
            "kubevirt.io%2FnodeName%3Dn1%2Ca%21%3Db");
  EXPECT_EQ(PercentEncode("\xff\n"), "%FF%0A");
}

}  // namespace
}  // namespace ullage::kube
