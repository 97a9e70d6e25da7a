// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/balloon_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ullage::qemu {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr BalloonFeatures kBoth{.free_page_reporting = true, .autodeflate = true};

std::string Domain(const std::string& balloon, const std::string& more = "",
                   const std::string& devices = "") {
  return "<domain type='kvm'>\n  <name>default_vm2</name>\n"
         "  <uuid>c603ed64-d0b7-4f35-a6a0-d165a62454c9</uuid>\n"
         "  <memory unit='MiB'>1024</memory>" +
         more + "\n  <devices><emulator>/usr/bin/qemu</emulator>" + devices + balloon +
         "</devices>\n</domain>\n";
}

std::string MustRewrite(const std::string& xml, const BalloonFeatures& features = kBoth) {
  const auto after = WithBalloonFeatures(xml, features);
  EXPECT_TRUE(after.ok()) << (after.ok() ? "" : after.error().message());
  return after.ok() ? *after : "";
}

BalloonSite MustFind(const std::string& xml) {
  const auto site = FindBalloon(xml);
  EXPECT_TRUE(site.ok()) << (site.ok() ? "" : site.error().message());
  return site.ok() ? *site : BalloonSite{};
}

TEST(WithBalloonFeatures, SwitchesOnWhatIsAbsentOrOff) {
  for (const char* balloon :
       {"<memballoon model='virtio'/>", "<memballoon model='virtio' freePageReporting='off'/>",
        "<memballoon autodeflate='off' model='virtio-non-transitional'><stats period='10'/>"
        "</memballoon>",
        "<memballoon model='virtio-transitional' freePageReporting='maybe' autodeflate='on'/>"}) {
    const BalloonDevice now = MustFind(MustRewrite(Domain(balloon))).balloon;
    EXPECT_EQ(now.free_page_reporting, true) << balloon;
    EXPECT_EQ(now.autodeflate, true) << balloon;
  }
}

TEST(WithBalloonFeatures, TouchesOnlyWhatItIsAskedTo) {
  const std::string xml = Domain("<memballoon model='virtio' freePageReporting='off'/>");
  const BalloonDevice now = MustFind(MustRewrite(xml, {.autodeflate = true})).balloon;
  EXPECT_EQ(now.free_page_reporting, false);
  EXPECT_EQ(now.autodeflate, true);
  EXPECT_EQ(MustRewrite(xml, {}), xml);
}

TEST(WithBalloonFeatures, LeavesTheVerySameBytesWhereAllIsOn) {
  const std::string on =
      Domain("<memballoon   model='virtio' freePageReporting='on' autodeflate='on'  />");
  EXPECT_EQ(MustRewrite(on), on);
  const std::string once = MustRewrite(Domain("<memballoon model='virtio'/>"));
  EXPECT_EQ(MustRewrite(once), once);
}

// What others put into a domain passes through: KubeVirt's metadata, QEMU's own arguments, a hook
// that ran before.
TEST(WithBalloonFeatures, KeepsEverythingElse) {
  const std::string more =
      "\n  <!-- a hook was here -->\n  <metadata>\n    <kubevirt xmlns=\"http://kubevirt.io\">\n"
      "      <uid>0beb9084</uid>\n    </kubevirt>\n  </metadata>\n"
      "  <qemu:commandline xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\">\n"
      "    <qemu:arg value=\"-fw_cfg\"/>\n    <qemu:arg value=\"a=&lt;&amp;&quot;b'&#10;c\"/>\n"
      "  </qemu:commandline>\n  <description>x &lt; y &amp; ü<![CDATA[<raw>]]></description>\n"
      "  <?hint kept?>";
  const std::string before = Domain("<memballoon model=\"virtio\"/>", more);
  const std::string after = MustRewrite(before);
  EXPECT_THAT(after, HasSubstr(more));
  EXPECT_THAT(after, HasSubstr("<memballoon model=\"virtio\" freePageReporting=\"on\" "
                               "autodeflate=\"on\"/>"));
  EXPECT_THAT(after, StartsWith("<domain type=\"kvm\">"));  // no declaration where there was none
}

TEST(WithBalloonFeatures, KeepsADeclaration) {
  const std::string after = MustRewrite("<?xml version='1.0' encoding='UTF-8'?>\n" +
                                        Domain("<memballoon model='virtio'/>"));
  EXPECT_THAT(after, StartsWith("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<domain"));
}

TEST(WithBalloonFeatures, AStrangersAttributeIsNotOurs) {
  const std::string after =
      MustRewrite(Domain("<memballoon xmlns:q='urn:q' q:freePageReporting='off' model='virtio'/>"));
  EXPECT_THAT(after, HasSubstr("q:freePageReporting=\"off\""));
  EXPECT_EQ(MustFind(after).balloon.free_page_reporting, true);
}

TEST(WithBalloonFeatures, RefusesWhatIsNoDomain) {
  for (const std::string& xml :
       {std::string(), std::string("garbage"), std::string("<network/>"), std::string("\0\0\0", 3),
        std::string("<domain><devices>"),
        "<!DOCTYPE domain [<!ENTITY a 'ha'>]>" + Domain("<memballoon model='virtio'/>"),
        Domain(std::string(kDomainXmlLimit, ' ')),
        Domain("<memballoon model='virtio'/>", "<x xmlns:q='a&lt;b'/>"),
        Domain("<memballoon model='virtio'/>", "caf\xE9")}) {
    const auto after = WithBalloonFeatures(xml, kBoth);
    ASSERT_FALSE(after.ok()) << xml.substr(0, 200);
    EXPECT_EQ(after.error().code(), Code::kInvalid);
    EXPECT_THAT(after.error().message(), StartsWith("domain XML: "));
  }
}

TEST(WithBalloonFeatures, RefusesWhatIsTooDeep) {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "<a>";
  for (int i = 0; i < 5000; ++i) deep += "</a>";
  EXPECT_EQ(WithBalloonFeatures(Domain("<memballoon model='virtio'/>", deep), kBoth).error().code(),
            Code::kInvalid);
}

TEST(FindBalloon, NamesWhatStandsInTheWay) {
  EXPECT_EQ(MustFind(Domain("<memballoon model='virtio'/>")).obstacle, "");
  const struct {
    const char *more, *devices, *what;
  } kCases[] = {
      {"", "<hostdev mode='subsystem' type='pci'/>", "host device"},
      {"", "<interface type='bridge'/><interface type='hostdev'/>", "network interface"},
      {"", "<interface type='vdpa'/>", "network interface"},
      {"<launchSecurity type='sev'/>", "", "confidential"},
      {"<memoryBacking><hugepages/></memoryBacking>", "", "huge pages"},
      {"<memoryBacking><locked/></memoryBacking>", "", "locked"},
  };
  for (const auto& c : kCases) {
    const BalloonSite site = MustFind(Domain("<memballoon model='virtio'/>", c.more, c.devices));
    EXPECT_THAT(site.obstacle, HasSubstr(c.what));
  }
  const std::string strangers =
      "<metadata><hostdev/><launchSecurity/></metadata><x:launchSecurity xmlns:x='urn:x'/>";
  EXPECT_EQ(MustFind(Domain("<memballoon model='virtio'/>", strangers)).obstacle, "");
  const std::string shared = "<memoryBacking><source type='memfd'/></memoryBacking>";
  EXPECT_EQ(MustFind(Domain("", shared, "<interface type='bridge'/>")).obstacle, "");
}

TEST(FindBalloon, NeedsNeitherNameNorMemory) {
  EXPECT_FALSE(MustFind("<domain/>").balloon.present);
  EXPECT_FALSE(FindBalloon("<domains/>").ok());
  EXPECT_THAT(FindBalloon("<domain>caf\xE9</domain>").error().message(), HasSubstr("UTF-8"));
}

TEST(WithFreePageReporting, SwitchesOnAndLeavesTheRest) {
  const std::string before =
      Domain("<memballoon model='virtio' autodeflate='off'><stats period='1'/></memballoon>",
             "<metadata><ullage:vm xmlns:ullage='https://ullage.io/libvirt/v1' "
             "placement='reclaimed'/></metadata><!-- kept -->");
  const auto after = WithFreePageReporting(before);
  ASSERT_TRUE(after.ok()) << after.error().message();
  EXPECT_THAT(*after, HasSubstr("<!-- kept -->"));
  EXPECT_THAT(*after, HasSubstr("<stats period=\"1\"/>"));
  const auto facts = ParseDomainXml(*after);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->balloon.free_page_reporting, true);
  EXPECT_EQ(facts->balloon.autodeflate, false);
  EXPECT_EQ(facts->placement, Placement::kReclaimed);
  EXPECT_EQ(facts->memory, Bytes::GiB(1));
  const auto again = WithFreePageReporting(*after);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *after);
}

TEST(WithFreePageReporting, TurnsAnOffIntoOn) {
  const auto after =
      WithFreePageReporting(Domain("<memballoon model='virtio' freePageReporting='off'/>"));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(MustFind(*after).balloon.free_page_reporting, true);
}

TEST(WithFreePageReporting, NeedsAVirtioBalloonAndGoodText) {
  for (const char* balloon :
       {"", "<memballoon model='none'/>", "<memballoon model='xen'/>", "<memballoon/>"}) {
    const auto after = WithFreePageReporting(Domain(balloon));
    ASSERT_FALSE(after.ok()) << balloon;
    EXPECT_EQ(after.error().code(), Code::kNotFound);
  }
  EXPECT_EQ(WithFreePageReporting(Domain("caf\xE9")).error().code(), Code::kInvalid);
  EXPECT_EQ(WithFreePageReporting("garbage").error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace ullage::qemu
