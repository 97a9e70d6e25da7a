// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/domain_rewrite.h"

#include <algorithm>

#include "node-agent/host/text.h"
#include "node-agent/model/vm.h"
#include "qemu-backend/balloon_xml.h"

namespace ullage::hooks {
namespace {

constexpr std::size_t kShown = 64;  // of a bad value, in a message
constexpr const char* kReclaim = "ullage.io/reclaim";
constexpr const char* kReportingDisabled = "kubevirt.io/free-page-reporting-disabled";

std::string Annotation(const Vmi& vmi, const char* key) {
  const auto& all = vmi.metadata().annotations();
  const auto found = all.find(key);
  return found == all.end() ? "" : found->second;
}

// Somebody who may say so says no.
std::string SwitchedOff(const Vmi& vmi) {
  if (Annotation(vmi, kReclaim) == Name(Reclaim::kOff))
    return "annotation ullage.io/reclaim is off";
  if (Annotation(vmi, kReportingDisabled) == "true") {
    return "annotation kubevirt.io/free-page-reporting-disabled is true";
  }
  const auto& devices = vmi.spec().domain().devices();
  if (devices.has_autoattach_mem_balloon() && !devices.autoattach_mem_balloon()) {
    return "autoattachMemBalloon is false";
  }
  return "";
}

// What KubeVirt itself counts as a high-performance VM.
std::string HighPerformance(const Vmi& vmi) {
  const auto& domain = vmi.spec().domain();
  if (domain.cpu().dedicated_cpu_placement()) return "it has dedicated CPUs";
  if (domain.cpu().has_realtime()) return "it is a realtime VM";
  if (domain.memory().has_hugepages()) return "its memory is on huge pages";
  return "";
}

// Nothing stops QEMU from taking hints of such guests; the host only gets nothing for them.
std::string PinnedOrEncrypted(const Vmi& vmi) {
  const auto& domain = vmi.spec().domain();
  const auto& devices = domain.devices();
  if (devices.gpus_size() > 0) return "it has a GPU";
  if (devices.host_devices_size() > 0) return "it has a host device";
  if (std::any_of(devices.interfaces().begin(), devices.interfaces().end(),
                  [](const auto& interface) { return interface.has_sriov(); })) {
    return "it has an SR-IOV network interface";
  }
  if (domain.has_launch_security()) return "it is a confidential guest";
  if (domain.memory().has_reserved_overhead()) return "its memory may be locked";
  return "";
}

std::string WhyLeave(const Vmi& vmi, const qemu::BalloonSite& site) {
  for (const std::string& why :
       {SwitchedOff(vmi), HighPerformance(vmi), PinnedOrEncrypted(vmi), site.obstacle}) {
    if (!why.empty()) return why;
  }
  if (!site.balloon.present) return "the domain has no balloon";
  if (!qemu::IsVirtio(site.balloon)) {
    return "its balloon is no virtio balloon but '" + site.balloon.model + "'";
  }
  return "";
}

std::string BadSetting(const Vmi& vmi) {
  const std::string value = Annotation(vmi, kReclaim);
  if (value.empty() || value == Name(Reclaim::kHints) || value == Name(Reclaim::kHybrid)) return "";
  return "; annotation ullage.io/reclaim is '" + host::Printable(value, kShown) +
         "', which is not one of hints|hybrid|off: hints applies";
}

std::string WhatWasDone(bool reporting, bool autodeflate) {
  if (reporting && autodeflate) return "free page reporting and autodeflate switched on";
  if (reporting) return "free page reporting switched on";
  return autodeflate ? "autodeflate switched on" : "nothing to do";
}

}  // namespace

Result<Rewritten> RewriteDomain(std::string_view xml, const Vmi& vmi,
                                const RewriteOptions& options) {
  const auto site = qemu::FindBalloon(xml);
  if (!site) return site.error();
  if (const std::string why = WhyLeave(vmi, *site); !why.empty()) {
    return Rewritten{std::string(xml), false, "left alone: " + why};
  }
  const qemu::BalloonDevice& balloon = site->balloon;
  const bool stays_off = balloon.free_page_reporting == false && !options.override_off;
  auto after =
      qemu::WithBalloonFeatures(xml, {.free_page_reporting = !stays_off, .autodeflate = true});
  if (!after) return after.error();
  Rewritten out;
  out.changed = *after != xml;
  out.xml = *std::move(after);
  out.why =
      WhatWasDone(!stays_off && balloon.free_page_reporting != true, balloon.autodeflate != true);
  if (stays_off) {
    out.why +=
        "; free page reporting stays off: KubeVirt wrote so and nothing in the VMI explains it, so "
        "the cluster's disableFreePageReporting does (--override-off ignores it)";
  }
  out.why += BadSetting(vmi);
  return out;
}

Rewritten Answer(std::string_view xml, std::string_view vmi_json, const RewriteOptions& options) {
  const auto vmi = api::ParseVmi(vmi_json);
  if (!vmi) {
    return {std::string(xml), false, "a domain was handed back as it is: " + vmi.error().message()};
  }
  auto rewritten = RewriteDomain(xml, *vmi, options);
  if (!rewritten) {
    return {std::string(xml), false,
            api::Name(*vmi) + ": handed back as it is: " + rewritten.error().message()};
  }
  rewritten->why = api::Name(*vmi) + ": " + rewritten->why;
  return *std::move(rewritten);
}

}  // namespace ullage::hooks
