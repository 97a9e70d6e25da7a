// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/api/vmi.h"
#include "node-agent/model/result.h"

namespace ullage::hooks {

struct RewriteOptions {
  /// Also turn freePageReporting='off' into 'on'. KubeVirt writes 'off' for reasons that are seen
  /// in the VMI, and those are always respected, or because the whole cluster's switch says so
  /// (virtualMachineOptions.disableFreePageReporting), which one VM's hook must not override
  /// unless whoever runs it says that it may.
  bool override_off = false;
};

struct Rewritten {
  std::string xml;  ///< to hand back to KubeVirt; the very same bytes unless `changed`
  bool changed = false;
  std::string why;  ///< plain words, printable: what was done, or why nothing was
};

/// A domain as KubeVirt is about to define it, with its balloon's features on: free page reporting,
/// and autodeflate, which KubeVirt never writes and without which a guest is killed for memory that
/// its own balloon holds. Pure, and the second time changes nothing.
///
/// Left alone, with the reason: VMs whose owner or KubeVirt switched it off in the VMI, those that
/// KubeVirt counts as high-performance (dedicated CPUs, realtime, huge pages), those whose memory
/// is pinned or encrypted, and domains without a virtio balloon.
/// kInvalid: no domain (qemu-backend/balloon_xml.h has the bounds).
Result<Rewritten> RewriteDomain(std::string_view xml, const Vmi& vmi,
                                const RewriteOptions& options);

/// What the hook answers, whatever it was asked: an input that makes no sense comes back as it is,
/// because a VM's start is never blocked here. `why` begins with the VMI's name.
Rewritten Answer(std::string_view xml, std::string_view vmi_json, const RewriteOptions& options);

}  // namespace ullage::hooks
