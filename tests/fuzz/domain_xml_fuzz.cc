// SPDX-License-Identifier: Apache-2.0
// Any bytes as a libvirt domain: read, and rewritten with free page reporting on.
#include "qemu-backend/balloon_xml.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

using qemu::DomainFacts;
using qemu::ParseDomainXml;

void Facts(const DomainFacts& facts) {
  Require(facts.uuid.size() == 36, "a UUID has 36 characters");
  Require(facts.uuid.find_first_not_of("0123456789abcdef-") == std::string::npos,
          "a UUID is lower-case hex");
  Require(!facts.name.empty() && IsUtf8(facts.name), "a name is UTF-8 and not empty");
  Require(facts.memory > Bytes(0), "memory is positive");
  Require(!facts.current_memory || *facts.current_memory >= Bytes(0), "and never negative");
  Require(facts.vcpus >= 1 && facts.vcpus <= qemu::kMaxVcpus, "vCPUs are bounded");
  Require(!facts.id || *facts.id >= 0, "an id is not negative");
  Require(IsShowable(facts.bad_setting), "a complaint can be shown");
  Require(IsShowable(facts.balloon.model), "a balloon's model can be shown");
  const VmSpec spec = ToSpec(facts);
  Require(IsShowable(spec.name) && spec.name.size() <= 256, "a name is made safe to show");
}

void Rewrite(std::string_view xml, const Result<DomainFacts>& before) {
  const auto rewritten = qemu::WithFreePageReporting(xml);
  if (!rewritten)
    return Require(IsShowable(rewritten.error().message()), "the reason can be shown");
  Require(IsUtf8(*rewritten), "what is written is UTF-8");
  // A definition may lack what makes a VM of ours and be rewritten all the same.
  const auto after = ParseDomainXml(*rewritten);
  Require(after.ok() == before.ok(), "a rewritten domain is as good as it was");
  if (!after) return;
  Require(after->balloon.present && after->balloon.free_page_reporting == true, "and now reports");
  Require(after->uuid == before->uuid && after->name == before->name, "nobody else was rewritten");
  Require(after->memory == before->memory && after->vcpus == before->vcpus &&
              after->current_memory == before->current_memory && after->id == before->id &&
              after->placement == before->placement && after->reclaim == before->reclaim &&
              after->balloon.autodeflate == before->balloon.autodeflate &&
              after->balloon.model == before->balloon.model &&
              after->balloon.alias == before->balloon.alias,
          "nothing else was changed");
  const auto again = qemu::WithFreePageReporting(*rewritten);
  Require(again.ok() && *again == *rewritten, "a second rewrite changes nothing");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage::fuzz;
  const std::string_view xml = View(data, size);
  const auto facts = ullage::qemu::ParseDomainXml(xml);
  if (facts) {
    Facts(*facts);
  } else {
    Require(IsShowable(facts.error().message()), "an error can be shown");
  }
  Rewrite(xml, facts);
  return 0;
}
