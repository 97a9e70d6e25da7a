// SPDX-License-Identifier: Apache-2.0
#include "node-agent/api/vmi.h"

#include <gmock/gmock.h>

namespace ullage::api {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Shaped as KubeVirt v1.0.0 sends one, with much that nobody here reads.
std::string Json(const std::string& domain = "", const std::string& metadata = "") {
  return R"({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {)"
         R"("annotations": {"kubevirt.io/latest-observed-api-version": "v1", )"
         R"("ullage.io/reclaim": "hybrid"}, "finalizers": ["x"], "generation": 8, )" +
         metadata +
         R"("name": "vm2", "namespace": "default", "uid": "0beb9084-c093-4922-bb85-4b4c4a2cab40"},)"
         R"("spec": {"architecture": "amd64", "domain": {"machine": {"type": "q35"}, )"
         R"("resources": {"requests": {"memory": "256Mi", "cpu": 1}})" +
         domain + R"(}}, "status": {"conditions": [{"lastProbeTime": null, "status": "True"}]}})";
}

hooks::Vmi MustParse(const std::string& json) {
  const auto vmi = ParseVmi(json);
  EXPECT_TRUE(vmi.ok()) << (vmi.ok() ? "" : vmi.error().message());
  return vmi.ok() ? *vmi : hooks::Vmi{};
}

std::string Refusal(const std::string& json) {
  const auto vmi = ParseVmi(json);
  EXPECT_FALSE(vmi.ok());
  if (vmi.ok()) return "";
  EXPECT_EQ(vmi.error().code(), Code::kInvalid);
  return vmi.error().message();
}

TEST(ParseVmi, ReadsWhatKubeVirtSends) {
  const hooks::Vmi vmi = MustParse(Json());
  EXPECT_EQ(Name(vmi), "default/vm2");
  EXPECT_EQ(vmi.metadata().uid(), "0beb9084-c093-4922-bb85-4b4c4a2cab40");
  EXPECT_EQ(vmi.metadata().annotations().at("ullage.io/reclaim"), "hybrid");
  const auto& domain = vmi.spec().domain();
  EXPECT_FALSE(domain.has_launch_security());
  EXPECT_FALSE(domain.devices().has_autoattach_mem_balloon());
  EXPECT_FALSE(domain.cpu().dedicated_cpu_placement());
  EXPECT_FALSE(domain.cpu().has_realtime());
  EXPECT_FALSE(domain.memory().has_hugepages());
}

TEST(ParseVmi, SeesWhatIsThereWithNothingInIt) {
  const hooks::Vmi vmi = MustParse(Json(
      R"(, "cpu": {"dedicatedCpuPlacement": true, "realtime": {}}, )"
      R"("memory": {"hugepages": {"pageSize": "2Mi"}, "guest": "1Gi", "reservedOverhead": {}}, )"
      R"("launchSecurity": {"sev": {"policy": {}}}, )"
      R"("devices": {"autoattachMemBalloon": false, "gpus": [{"name": "a"}], )"
      R"("hostDevices": [{"name": "b"}, {}], "interfaces": [{"name": "c", "sriov": {}}]})"));
  const auto& domain = vmi.spec().domain();
  EXPECT_TRUE(domain.cpu().dedicated_cpu_placement());
  EXPECT_TRUE(domain.cpu().has_realtime());
  EXPECT_TRUE(domain.memory().has_hugepages());
  EXPECT_TRUE(domain.memory().has_reserved_overhead());
  EXPECT_TRUE(domain.has_launch_security());
  ASSERT_TRUE(domain.devices().has_autoattach_mem_balloon());
  EXPECT_FALSE(domain.devices().autoattach_mem_balloon());
  EXPECT_EQ(domain.devices().gpus_size(), 1);
  EXPECT_EQ(domain.devices().host_devices_size(), 2);
  ASSERT_EQ(domain.devices().interfaces_size(), 1);
  EXPECT_TRUE(domain.devices().interfaces(0).has_sriov());
}

TEST(ParseVmi, TakesNullForAbsent) {
  const hooks::Vmi vmi =
      MustParse(Json(R"(, "cpu": null, "memory": {"hugepages": null}, "launchSecurity": null, )"
                     R"("devices": {"autoattachMemBalloon": null, "gpus": null})"));
  EXPECT_FALSE(vmi.spec().domain().memory().has_hugepages());
  EXPECT_FALSE(vmi.spec().domain().has_launch_security());
  EXPECT_FALSE(vmi.spec().domain().devices().has_autoattach_mem_balloon());
}

TEST(ParseVmi, RefusesWhatIsNoVmi) {
  for (const std::string& json :
       {std::string(), std::string("garbage"), std::string("[]"), std::string("7"),
        std::string("\0", 1), std::string("{\"metadata\": []}"), Json().substr(0, 300),
        std::string("{\"metadata\": {\"name\": \"\xff\"}}"), Json(R"(, "cpu": 7)"),
        Json(R"(, "cpu": {"dedicatedCpuPlacement": "perhaps"})")}) {
    EXPECT_THAT(Refusal(json), StartsWith("VMI: ")) << json.substr(0, 200);
  }
}

TEST(ParseVmi, RefusesWhatIsTooLongOrDeep) {
  EXPECT_THAT(Refusal(Json() + std::string(kVmiLimit, ' ')), HasSubstr("longer than"));
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "[";
  EXPECT_THAT(Refusal(Json(", \"x\": " + deep)), StartsWith("VMI: "));
}

TEST(ParseVmi, WantsSomebodyWithAName) {
  const auto named = [](const std::string& space, const std::string& name, const std::string& uid) {
    return R"({"metadata": {"namespace": ")" + space + R"(", "name": ")" + name + R"(", "uid": ")" +
           uid + R"("}})";
  };
  EXPECT_EQ(Name(MustParse(named("a", "b.c-1", "U-1"))), "a/b.c-1");
  EXPECT_EQ(Name(MustParse(named("a", std::string(253, 'n'), std::string(64, 'f')))).size(), 255u);
  EXPECT_THAT(Refusal("{}"), HasSubstr("its namespace is ''"));
  EXPECT_THAT(Refusal(named("", "b", "c")), HasSubstr("its namespace is ''"));
  EXPECT_THAT(Refusal(named("a/b", "b", "c")), HasSubstr("its namespace is 'a/b'"));
  EXPECT_THAT(Refusal(named("a", "", "c")), HasSubstr("its name is ''"));
  EXPECT_THAT(Refusal(named("a", "x\\ny", "c")), HasSubstr("its name is 'x\\x0ay'"));
  EXPECT_THAT(Refusal(named("a", std::string(254, 'n'), "c")), HasSubstr("its name is"));
  EXPECT_THAT(Refusal(named("a", "b", "")), HasSubstr("its UID is ''"));
  EXPECT_THAT(Refusal(named("a", "b", std::string(65, 'f'))), HasSubstr("its UID is"));
}

}  // namespace
}  // namespace ullage::api
