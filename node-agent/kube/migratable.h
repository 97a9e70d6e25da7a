// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/host/text.h"
#include "node-agent/kube/objects.pb.h"

namespace ullage::kube {

/// KubeVirt's condition LiveMigratable, where it says no: in its words, printable and never empty.
/// Absent: it says yes or nothing yet, so the VM may migrate. Its webhook refuses each migration of
/// a VM for which it says no (KubeVirt, migration-create-admitter).
inline std::optional<std::string> WhyItStays(const k8s::VirtualMachineInstance& vmi) {
  constexpr std::size_t kMostWords = 512;
  for (const k8s::Condition& condition : vmi.status().conditions()) {
    if (condition.type() != "LiveMigratable" || condition.status() != "False") continue;
    const std::string& reason = condition.reason();
    const std::string& message = condition.message();
    if (reason.empty() && message.empty()) return "KubeVirt does not say why";
    std::string words = reason;
    if (!reason.empty() && !message.empty()) words += ": ";
    return host::Printable(words.append(message), kMostWords);
  }
  return std::nullopt;
}

}  // namespace ullage::kube
