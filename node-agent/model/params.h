// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage {

/// What each VM's QEMU needs besides the guest's memory, as the scheduler would count it.
struct Overhead {
  Bytes fixed = Bytes::MiB(128);
  Bytes per_vcpu = Bytes::MiB(8);
};

/// The policy's numbers. Defaults and their reasons: docs/policy.md.
struct PolicyParams {
  Overhead overhead;
  Bytes reserve = Bytes::MiB(512);  ///< of the host, for itself: not allocatable to VMs
  Permyriad growth{1000};           ///< g: share of L that each VM may claim within the horizon
  Permyriad buffer_of_host{500};    ///< B is at least this share of the host …
  Permyriad buffer_of_vm{4000};     ///< … and this share of the largest VM's unused promise
  Permyriad ratio_cap{12500};       ///< K: Σ L stays below this share of the host
  Bytes quantum = Bytes::MiB(64);   ///< capacity is published in multiples of this
  seconds history_min{600};         ///< a VM watched for less, in this epoch, may claim all
  seconds rise_delay{300};          ///< C goes up only after this long …
  Permyriad rise_step{200};         ///< … and by this share of the host a minute
  /// Parameters that every guest's driver is to have, where its agent lets us; canonical.
  std::map<std::string, std::string> guest_parameters;
  seconds horizon{600};     ///< h: for how long a promise has to hold
  seconds cold_after{120};  ///< what was not touched for this long is cold
  seconds stale_after{30};  ///< an older list of VMs, or answer of one, is worth nothing
};

}  // namespace ullage
