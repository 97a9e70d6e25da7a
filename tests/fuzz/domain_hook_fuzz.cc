// SPDX-License-Identifier: Apache-2.0
// Any bytes as what KubeVirt's hooks are called with: a byte of options, a line with the VMI, and
// the domain.
#include "qemu-backend/balloon_xml.h"
#include "qemu-backend/kubevirt/domain_rewrite.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

using hooks::Answer;
using hooks::Rewritten;

bool IsExempt(const hooks::Vmi& vmi) {
  const auto& domain = vmi.spec().domain();
  return domain.cpu().dedicated_cpu_placement() || domain.cpu().has_realtime() ||
         domain.memory().has_hugepages() || domain.has_launch_security() ||
         domain.devices().gpus_size() > 0 || domain.devices().host_devices_size() > 0;
}

void Unchanged(std::string_view xml, const Rewritten& answer) {
  Require(answer.xml == xml, "what was not changed comes back byte by byte");
}

void Changed(std::string_view xml, std::string_view vmi_json, const Rewritten& answer,
             const hooks::RewriteOptions& options) {
  const auto vmi = api::ParseVmi(vmi_json);
  Require(vmi.ok() && !IsExempt(*vmi), "only a VM that may be is changed");
  const auto before = qemu::FindBalloon(xml);
  const auto after = qemu::FindBalloon(answer.xml);
  Require(before.ok() && after.ok(), "a domain was changed, and it is one still");
  Require(before->obstacle.empty() && after->obstacle.empty(), "nothing stood in the way");
  Require(qemu::IsVirtio(before->balloon), "there was a virtio balloon");
  Require(after->balloon.autodeflate == true, "autodeflate is on");
  const bool stays_off = before->balloon.free_page_reporting == false && !options.override_off;
  Require(after->balloon.free_page_reporting == !stays_off, "reporting is on unless it was off");
  Require(after->balloon.model == before->balloon.model &&
              after->balloon.alias == before->balloon.alias,
          "the balloon is the same");
  const Rewritten again = Answer(answer.xml, vmi_json, options);
  Require(!again.changed && again.xml == answer.xml, "the second time changes nothing");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage::fuzz;
  std::string_view xml = View(data, size);
  const ullage::hooks::RewriteOptions options{.override_off = (TakeByte(xml) & 1) != 0};
  const std::string_view vmi = ullage::host::TakeUntil(xml, '\n');
  const auto answer = ullage::hooks::Answer(xml, vmi, options);
  Require(IsShowable(answer.why) && !answer.why.empty(), "the reason can be shown");
  if (answer.changed) {
    Changed(xml, vmi, answer, options);
  } else {
    Unchanged(xml, answer);
  }
  return 0;
}
