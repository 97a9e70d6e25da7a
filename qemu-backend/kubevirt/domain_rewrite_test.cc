// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/domain_rewrite.h"

#include <gmock/gmock.h>

#include "qemu-backend/balloon_xml.h"

namespace ullage::hooks {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kOff =
    "<memballoon model='virtio-non-transitional'><stats period='10'/></memballoon>";

// Shaped as KubeVirt v1.0.0 makes one.
std::string Domain(const std::string& balloon, const std::string& more = "") {
  return "<domain type=\"kvm\" xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\">"
         "<name>default_vm2</name><uuid>c603ed64-d0b7-4f35-a6a0-d165a62454c9</uuid>"
         "<memory unit=\"KiB\">1048576</memory>"
         "<metadata><kubevirt xmlns=\"http://kubevirt.io\"><uid></uid></kubevirt></metadata>"
         "<devices>" +
         balloon + "</devices><qemu:commandline><qemu:arg value=\"-s\"/></qemu:commandline>" +
         more + "</domain>";
}

std::string Json(const std::string& domain = "", const std::string& annotations = "") {
  return R"({"metadata": {"name": "vm2", "namespace": "default", "uid": "0beb9084", )"
         R"("annotations": {)" +
         annotations + R"(}}, "spec": {"domain": {)" + domain + "}}}";
}

Rewritten Try(const std::string& xml, const std::string& vmi, const RewriteOptions& options = {}) {
  const Rewritten answer = Answer(xml, vmi, options);
  EXPECT_EQ(answer.changed, answer.xml != xml);
  return answer;
}

qemu::BalloonDevice Balloon(const std::string& xml) {
  const auto site = qemu::FindBalloon(xml);
  EXPECT_TRUE(site.ok());
  return site.ok() ? site->balloon : qemu::BalloonDevice{};
}

TEST(RewriteDomain, SwitchesBothOn) {
  const Rewritten answer = Try(Domain(kOff), Json());
  EXPECT_TRUE(answer.changed);
  EXPECT_EQ(answer.why, "default/vm2: free page reporting and autodeflate switched on");
  EXPECT_EQ(Balloon(answer.xml).free_page_reporting, true);
  EXPECT_EQ(Balloon(answer.xml).autodeflate, true);
  EXPECT_THAT(answer.xml, HasSubstr("<qemu:commandline><qemu:arg value=\"-s\"/>"));
  EXPECT_THAT(answer.xml, HasSubstr("<stats period=\"10\"/>"));
}

// Stock KubeVirt of today: reporting is on, and only autodeflate is left to do.
TEST(RewriteDomain, AddsOnlyAutodeflateToWhatKubeVirtDoes) {
  const Rewritten answer =
      Try(Domain("<memballoon model='virtio-non-transitional' freePageReporting='on'/>"), Json());
  EXPECT_TRUE(answer.changed);
  EXPECT_EQ(answer.why, "default/vm2: autodeflate switched on");
  EXPECT_EQ(Balloon(answer.xml).free_page_reporting, true);
}

TEST(RewriteDomain, TheSecondTimeChangesNothing) {
  const Rewritten once = Try(Domain(kOff), Json());
  const Rewritten twice = Try(once.xml, Json());
  EXPECT_FALSE(twice.changed);
  EXPECT_EQ(twice.why, "default/vm2: nothing to do");
}

TEST(RewriteDomain, TheClustersSwitchIsNotOverridden) {
  const std::string off = Domain("<memballoon model='virtio' freePageReporting='off'/>");
  const Rewritten kept = Try(off, Json());
  EXPECT_TRUE(kept.changed);  // autodeflate is none of that switch's business
  EXPECT_EQ(Balloon(kept.xml).free_page_reporting, false);
  EXPECT_EQ(Balloon(kept.xml).autodeflate, true);
  EXPECT_THAT(kept.why, HasSubstr("disableFreePageReporting"));
  const Rewritten again = Try(kept.xml, Json());
  EXPECT_FALSE(again.changed);
  EXPECT_THAT(again.why, HasSubstr("nothing to do; free page reporting stays off"));
  const Rewritten overridden = Try(off, Json(), {.override_off = true});
  EXPECT_EQ(Balloon(overridden.xml).free_page_reporting, true);
}

TEST(RewriteDomain, LeavesAloneWhoIsExempt) {
  const struct {
    std::string domain, annotations;
    const char* why;
  } kCases[] = {
      {"", R"("ullage.io/reclaim": "off")", "ullage.io/reclaim is off"},
      {"", R"("kubevirt.io/free-page-reporting-disabled": "true")", "disabled is true"},
      {R"("devices": {"autoattachMemBalloon": false})", "", "autoattachMemBalloon"},
      {R"("cpu": {"dedicatedCpuPlacement": true})", "", "dedicated CPUs"},
      {R"("cpu": {"realtime": {"mask": "0"}})", "", "realtime"},
      {R"("memory": {"hugepages": {"pageSize": "1Gi"}})", "", "huge pages"},
      {R"("devices": {"gpus": [{"deviceName": "x"}]})", "", "GPU"},
      {R"("devices": {"hostDevices": [{"deviceName": "x"}]})", "", "host device"},
      {R"("devices": {"interfaces": [{"bridge": {}}, {"sriov": {}}]})", "", "SR-IOV"},
      {R"("launchSecurity": {"sev": {}})", "", "confidential"},
      {R"("memory": {"reservedOverhead": {}})", "", "locked"},
  };
  for (const auto& c : kCases) {
    for (const bool override_off : {false, true}) {
      const Rewritten answer =
          Try(Domain(kOff), Json(c.domain, c.annotations), {.override_off = override_off});
      EXPECT_FALSE(answer.changed) << c.why;
      EXPECT_THAT(answer.why, StartsWith("default/vm2: left alone: "));
      EXPECT_THAT(answer.why, HasSubstr(c.why));
    }
  }
}

TEST(RewriteDomain, DoesNotTakeOtherValuesForAnExemption) {
  for (const char* annotations :
       {R"("kubevirt.io/free-page-reporting-disabled": "false")",
        R"("kubevirt.io/free-page-reporting-disabled": "")", R"("ullage.io/reclaim": "hints")",
        R"("ullage.io/reclaim": "hybrid")", R"("ullage.io/placement": "reclaimed")"}) {
    const Rewritten answer = Try(Domain(kOff), Json("", annotations));
    EXPECT_TRUE(answer.changed) << annotations;
    EXPECT_THAT(answer.why, Not(HasSubstr("annotation")));
  }
  EXPECT_TRUE(Try(Domain(kOff), Json(R"("cpu": {"dedicatedCpuPlacement": false, "cores": 2}, )"
                                     R"("devices": {"autoattachMemBalloon": true})"))
                  .changed);
}

TEST(RewriteDomain, NamesABadSettingAndAppliesTheDefault) {
  const Rewritten answer = Try(Domain(kOff), Json("", R"("ullage.io/reclaim": "o\u001bff")"));
  EXPECT_TRUE(answer.changed);
  EXPECT_THAT(answer.why, HasSubstr("'o\\x1bff', which is not one of hints|hybrid|off"));
}

TEST(RewriteDomain, LeavesDomainsAloneThatCannotGiveMemoryBack) {
  const struct {
    std::string xml;
    const char* why;
  } kCases[] = {
      {Domain(""), "no balloon"},
      {Domain("<memballoon model='none'/>"), "no balloon"},
      {Domain("<memballoon model='xen'/>"), "no virtio balloon but 'xen'"},
      {Domain(std::string("<hostdev/>") + kOff), "host device"},
      {Domain(kOff, "<launchSecurity type='sev'/>"), "confidential"},
      {Domain(kOff, "<memoryBacking><hugepages/></memoryBacking>"), "huge pages"},
  };
  for (const auto& c : kCases) {
    const Rewritten answer = Try(c.xml, Json());
    EXPECT_FALSE(answer.changed);
    EXPECT_THAT(answer.why, HasSubstr(c.why));
  }
}

TEST(Answer, HandsBackWhatMakesNoSense) {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "<a>";
  for (const std::string& xml :
       {std::string(), std::string("garbage"), std::string("\0<domain/>", 10), deep,
        std::string("<network/>"), "<!DOCTYPE domain [<!ENTITY a 'ha'>]>" + Domain(kOff),
        Domain(std::string((std::size_t{1} << 20) + 1, ' ')), Domain("caf\xE9"),
        Domain(kOff, "<x xmlns:q='a&lt;b'/>")}) {
    const Rewritten answer = Try(xml, Json());
    EXPECT_FALSE(answer.changed);
    EXPECT_THAT(answer.why, StartsWith("default/vm2: handed back as it is: domain XML: "));
  }
  for (const std::string& vmi : {std::string(), std::string("garbage"), std::string("{}"),
                                 Json("\"cpu\": 7"), std::string(3 << 20, ' ')}) {
    const Rewritten answer = Try(Domain(kOff), vmi);
    EXPECT_FALSE(answer.changed);
    EXPECT_THAT(answer.why, StartsWith("a domain was handed back as it is: VMI: "));
  }
}

}  // namespace
}  // namespace ullage::hooks
