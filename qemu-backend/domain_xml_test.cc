// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/domain_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace ullage::qemu {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kUuid = "c603ed64-d0b7-4f35-a6a0-d165a62454c9";

struct Shape {
  std::string name = "default_vm2";
  std::string uuid = kUuid;
  std::string memory = "<memory unit='KiB'>1048576</memory>";
  std::string more =
      "<currentMemory unit='KiB'>524288</currentMemory><vcpu placement='static'>2</vcpu>";
  std::string metadata = "";
  std::string balloon =
      "<memballoon model='virtio-non-transitional' freePageReporting='on'>"
      "<stats period='10'/><alias name='balloon0'/></memballoon>";
};

std::string Domain(const Shape& s) {
  return "<domain type='qemu' id='7'>\n  <name>" + s.name + "</name>\n  <uuid>" + s.uuid +
         "</uuid>\n  <metadata>" + s.metadata + "</metadata>\n  " + s.memory + s.more +
         "\n  <devices><emulator>/usr/bin/qemu</emulator>" + s.balloon + "</devices>\n</domain>\n";
}

std::string Ullage(const std::string& attributes) {
  return "<ullage:vm xmlns:ullage='https://ullage.io/libvirt/v1' " + attributes + "/>";
}

DomainFacts MustParse(const std::string& xml) {
  auto facts = ParseDomainXml(xml);
  EXPECT_TRUE(facts.ok()) << (facts.ok() ? "" : facts.error().message());
  return facts.ok() ? *facts : DomainFacts{};
}

std::string Refusal(const std::string& xml) {
  const auto facts = ParseDomainXml(xml);
  EXPECT_FALSE(facts.ok());
  if (facts.ok()) return "";
  EXPECT_EQ(facts.error().code(), Code::kInvalid);
  return facts.error().message();
}

TEST(DomainXml, KnowsWhatPinsTheGuestsMemory) {
  const auto pinned = [](const std::string& devices, const std::string& more = "") {
    return MustParse(Domain({.more = more, .balloon = devices})).pinned;
  };
  EXPECT_EQ(pinned(""), "");
  EXPECT_EQ(pinned("<hostdev mode='subsystem' type='usb'/><hostdev mode='subsystem' type='scsi'/>"
                   "<interface type='ethernet'/>"),
            "");
  for (const std::string type : {"pci", "mdev"}) {
    EXPECT_THAT(pinned("<hostdev type='usb'/><hostdev mode='subsystem' type='" + type + "'/>"),
                HasSubstr("VFIO"));
  }
  for (const std::string type : {"hostdev", "vdpa"}) {
    EXPECT_THAT(pinned("<interface type='" + type + "'/>"), HasSubstr("VFIO"));
  }
  EXPECT_THAT(pinned("", "<launchSecurity type='sev'/>"), HasSubstr("confidential"));
  EXPECT_THAT(pinned("", "<memoryBacking><locked/></memoryBacking>"), HasSubstr("locked"));
  EXPECT_THAT(pinned("", "<memoryBacking><hugepages/></memoryBacking>"), HasSubstr("huge pages"));
  EXPECT_EQ(pinned("", "<memoryBacking><source type='memfd'/></memoryBacking>"), "");
}

TEST(DomainXml, ReadsWhatKubeVirtMakes) {
  const DomainFacts facts =
      MustParse(Domain({.metadata = "<kubevirt xmlns='http://kubevirt.io'><uid/></kubevirt>"}));
  EXPECT_EQ(facts.id, 7);
  EXPECT_EQ(facts.name, "default_vm2");
  EXPECT_EQ(facts.uuid, kUuid);
  EXPECT_EQ(facts.memory, Bytes::GiB(1));
  EXPECT_EQ(facts.current_memory, Bytes::MiB(512));
  EXPECT_EQ(facts.vcpus, 2u);
  EXPECT_TRUE(facts.balloon.present);
  EXPECT_EQ(facts.balloon.model, "virtio-non-transitional");
  EXPECT_EQ(facts.balloon.alias, "balloon0");
  EXPECT_EQ(facts.balloon.free_page_reporting, true);
  EXPECT_EQ(facts.balloon.autodeflate, std::nullopt);
  EXPECT_EQ(facts.placement, Placement::kStandard);
  EXPECT_EQ(facts.reclaim, Reclaim::kHints);
  EXPECT_EQ(facts.bad_setting, "");
}

TEST(DomainReader, TakesTheSameTextApartOnce) {
  const auto domain = [](const char* memory) {
    return Domain({.memory = memory,
                   .balloon = "<memballoon model='virtio'><alias name='an-alias-of-its-own'/>"
                              "</memballoon>"});
  };
  const std::string one = domain("<memory unit='MiB'>1</memory>");
  const std::string two = domain("<memory unit='MiB'>2</memory>");
  ASSERT_EQ(one.size(), two.size());
  DomainReader reader;
  EXPECT_EQ(reader.Read(one)->memory, Bytes::MiB(1));
  EXPECT_EQ(reader.Read(one)->name, "");
  const char* alias = reader.Read(one)->balloon.alias.c_str();
  EXPECT_EQ(std::string_view(alias), "an-alias-of-its-own");
  EXPECT_EQ(reader.Read(std::string(one))->balloon.alias.c_str(), alias) << "the one from before";
  EXPECT_EQ(reader.Read(two)->memory, Bytes::MiB(2));
  EXPECT_EQ(reader.Read("<domain/>").error().message(),
            ParseDomainXml("<domain/>").error().message());
  EXPECT_FALSE(reader.Read("<domain/>").ok());
  EXPECT_EQ(reader.Read(one)->memory, Bytes::MiB(1));
  EXPECT_FALSE(reader.Read("").ok());
}

TEST(DomainXml, SaysTheSameToTheModel) {
  const VmSpec spec =
      ToSpec(MustParse(Domain({.name = "a\xC2\x9B"
                                       "b",
                               .metadata = Ullage("placement='reclaimed' reclaim='off'")})));
  EXPECT_EQ(spec.id.value, kUuid);
  EXPECT_THAT(spec.name, Not(HasSubstr("\xC2\x9B")));  // a terminal's control sequence introducer
  EXPECT_EQ(spec.guest_memory, Bytes::GiB(1));
  EXPECT_EQ(spec.vcpus, 2u);
  EXPECT_EQ(spec.placement, Placement::kReclaimed);
  EXPECT_EQ(spec.reclaim, Reclaim::kOff);
}

class MemoryUnits : public ::testing::TestWithParam<std::tuple<const char*, std::int64_t>> {};

TEST_P(MemoryUnits, Scale) {
  const auto& [unit, size] = GetParam();
  const std::string memory = "<memory unit='" + std::string(unit) + "'> 3\n</memory>";
  EXPECT_EQ(MustParse(Domain({.memory = memory})).memory.count(), 3 * size);
}

INSTANTIATE_TEST_SUITE_P(AllOfLibvirts, MemoryUnits,
                         ::testing::Values(std::tuple{"b", 1}, std::tuple{"bytes", 1},
                                           std::tuple{"KB", 1000}, std::tuple{"k", 1024},
                                           std::tuple{"KiB", 1024}, std::tuple{"kib", 1024},
                                           std::tuple{"", 1024}, std::tuple{"MB", 1000000},
                                           std::tuple{"M", 1 << 20}, std::tuple{"MiB", 1 << 20},
                                           std::tuple{"GB", 1000000000}, std::tuple{"G", 1 << 30},
                                           std::tuple{"GiB", 1 << 30},
                                           std::tuple{"TB", std::int64_t{1000000000000}},
                                           std::tuple{"T", std::int64_t{1} << 40},
                                           std::tuple{"TiB", std::int64_t{1} << 40}));

TEST(DomainXml, TakesKibibytesWithoutAUnit) {
  EXPECT_EQ(MustParse(Domain({.memory = "<memory>2048</memory>"})).memory, Bytes::MiB(2));
}

TEST(DomainXml, SaturatesInsteadOfWrapping) {
  EXPECT_EQ(
      MustParse(Domain({.memory = "<memory unit='TiB'>18446744073709551615</memory>"})).memory,
      Bytes::Max());
  EXPECT_EQ(MustParse(Domain({.memory = "<memory unit='GiB'>17179869184</memory>"})).memory,
            Bytes::Max());  // 2^64 bytes: zero, were it to wrap
}

TEST(DomainXml, RefusesADomainWithoutMemory) {
  for (const char* memory :
       {"", "<memory/>", "<memory>0</memory>", "<memory>-1</memory>", "<memory>1e9</memory>",
        "<memory unit='parsec'>1</memory>", "<memory>18446744073709551616</memory>",
        "<memory xmlns='urn:else'>1048576</memory>"}) {
    EXPECT_THAT(Refusal(Domain({.memory = memory})), HasSubstr("<memory>")) << memory;
  }
}

TEST(DomainXml, TakesNothingFromMetadataForLibvirts) {
  const DomainFacts facts = MustParse(Domain(
      {.metadata = "<memory xmlns='urn:x' unit='TiB'>9</memory><vcpu xmlns='urn:x'>99</vcpu>"}));
  EXPECT_EQ(facts.memory, Bytes::GiB(1));
  EXPECT_EQ(facts.vcpus, 2u);
}

TEST(DomainXml, BoundsTheVcpus) {
  EXPECT_EQ(MustParse(Domain({.more = ""})).vcpus, 1u);
  EXPECT_EQ(MustParse(Domain({.more = "<vcpu>4294967297</vcpu>"})).vcpus, kMaxVcpus);
  EXPECT_THAT(Refusal(Domain({.more = "<vcpu>0</vcpu>"})), HasSubstr("<vcpu>"));
  EXPECT_THAT(Refusal(Domain({.more = "<vcpu>many</vcpu>"})), HasSubstr("many"));
}

TEST(DomainXml, RefusesANameOrUuidThatIsNone) {
  EXPECT_THAT(Refusal(Domain({.name = ""})), HasSubstr("<name>"));
  for (const char* uuid :
       {"", "c603ed64", "c603ed64-d0b7-4f35-a6a0-d165a62454c9x",
        "g603ed64-d0b7-4f35-a6a0-d165a62454c9", "../../../../../../../../../etc/shadow"}) {
    EXPECT_THAT(Refusal(Domain({.uuid = uuid})), HasSubstr("<uuid>")) << uuid;
  }
  EXPECT_EQ(MustParse(Domain({.uuid = "C603ED64-D0B7-4F35-A6A0-D165A62454C9"})).uuid, kUuid);
}

TEST(DomainXml, KnowsADomainWithoutABalloon) {
  EXPECT_FALSE(MustParse(Domain({.balloon = ""})).balloon.present);
  EXPECT_FALSE(MustParse(Domain({.balloon = "<memballoon model='none'/>"})).balloon.present);
}

TEST(DomainXml, ReadsTheBalloonsSwitches) {
  const DomainFacts off = MustParse(
      Domain({.balloon = "<memballoon model='virtio' freePageReporting='off' autodeflate='on'/>"}));
  EXPECT_EQ(off.balloon.free_page_reporting, false);
  EXPECT_EQ(off.balloon.autodeflate, true);
  EXPECT_EQ(off.balloon.alias, "");
  const DomainFacts odd =
      MustParse(Domain({.balloon = "<memballoon model='virtio' freePageReporting='maybe'/>"}));
  EXPECT_EQ(odd.balloon.free_page_reporting, std::nullopt);
}

TEST(DomainXml, NamesABadSettingAndAppliesTheDefault) {
  const DomainFacts facts =
      MustParse(Domain({.metadata = Ullage("placement='cheap' reclaim='\xE2\x80\xAEx'")}));
  EXPECT_EQ(facts.placement, Placement::kStandard);
  EXPECT_EQ(facts.reclaim, Reclaim::kHints);
  EXPECT_THAT(facts.bad_setting, HasSubstr("placement='cheap' is not one of standard|reclaimed"));
  EXPECT_THAT(facts.bad_setting, HasSubstr("hints applies"));
  const DomainFacts stranger = MustParse(
      Domain({.metadata = "<u:vm xmlns:u='https://example.org/' placement='reclaimed'/>"}));
  EXPECT_EQ(stranger.placement, Placement::kStandard);
}

TEST(DomainXml, AcceptsNoDtdAndSoNoLaughs) {
  const std::string laughs =
      "<!DOCTYPE domain [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
      "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]>" +
      Domain({.name = "&c;"});
  EXPECT_THAT(Refusal(laughs), HasSubstr("DTD"));
  EXPECT_THAT(Refusal("<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>" + Domain({})),
              HasSubstr("DTD"));
  EXPECT_THAT(Refusal(Domain({.name = "&unknown;"})), HasSubstr("line"));
}

TEST(DomainXml, RefusesWhatIsTooLongOrDeepOrCut) {
  EXPECT_THAT(Refusal(Domain({.metadata = std::string(kDomainXmlLimit, ' ')})),
              HasSubstr("longer than"));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "<a>";
  EXPECT_THAT(Refusal(deep), HasSubstr("domain XML"));
  const std::string whole = Domain({});
  for (std::size_t cut = 0; cut + 2 < whole.size(); cut += 7) Refusal(whole.substr(0, cut));
  EXPECT_THAT(Refusal("<network/>"), HasSubstr("not <domain>"));
  EXPECT_THAT(Refusal(std::string("\0\0\0", 3)), HasSubstr("domain XML"));
}

TEST(DomainXml, KeepsADomainInSightWhoseNameIsNotUtf8) {
  const DomainFacts facts = MustParse(Domain({.name = "caf\xE9"}));
  EXPECT_EQ(facts.name, "caf\xC3\xA9");
  EXPECT_THAT(facts.bad_setting, HasSubstr("not UTF-8"));
  EXPECT_THAT(Refusal(Domain({.name = "bell\x07"})), HasSubstr("line"));
}

TEST(DomainXml, ReadsADeclaredEncoding) {
  const DomainFacts facts =
      MustParse("<?xml version='1.0' encoding='ISO-8859-1'?>" + Domain({.name = "caf\xE9"}));
  EXPECT_EQ(facts.name, "caf\xC3\xA9");
  EXPECT_EQ(facts.bad_setting, "");
}

}  // namespace
}  // namespace ullage::qemu
