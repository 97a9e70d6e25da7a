// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include "node-agent/model/bytes.h"
#include "node-agent/model/mode.h"
#include "node-agent/model/time.h"

namespace ullage {

/// What each VM's QEMU needs besides the guest's memory, as the scheduler would count it.
struct Overhead {
  Bytes fixed = Bytes::MiB(128);
  Bytes per_vcpu = Bytes::MiB(8);
};

/// When memory is taken and given among hybrid VMs, and how much at a time.
struct HybridParams {
  Permyriad hold_below{10000};   ///< A below this share of B: nothing more is promised …
  Permyriad shrink_below{6400};  ///< … memory is taken back from the greedy …
  Permyriad limit_below{3200};   ///< … they get a limit, and VMs are migrated …
  Permyriad evict_below{1600};   ///< … and those on reclaimed memory evicted
  Permyriad pressure{10};        ///< a VM with more (PSI some avg10) is needy
  Permyriad refaults{20};        ///< so is one that misses more of its working set a minute
  Permyriad min_memory{2500};    ///< of the guest's memory: its floor, if its owner names none
  Permyriad page_out{100};       ///< of R: taken at a time where nobody is short; 0: nothing then
  seconds victim_every{30};      ///< between one that gives and the next
  LastStep last_step = LastStep::kEvict;  ///< at kMigrate nobody is chosen to be evicted
};

/// Which bound C stands on (docs/policy.md).
enum class Bound {
  kHorizon,  ///< C1: holds for the horizon, by what the VMs are believed to claim
  kFull,     ///< C2, where it is less: holds even if every guest wants all at once
};

constexpr const char* Name(Bound bound) { return bound == Bound::kFull ? "full" : "horizon"; }

/// The policy's numbers. Defaults and their reasons: docs/policy.md.
struct PolicyParams {
  Overhead overhead;
  Bytes reserve = Bytes::MiB(512);  ///< of the host, for itself: not allocatable to VMs
  Permyriad growth{1000};           ///< g: share of L that each VM may claim within the horizon
  Permyriad buffer_of_host{500};    ///< B is at least this share of the host …
  Permyriad buffer_of_vm{4000};     ///< … and this share of the largest VM's unused promise
  Permyriad ratio_cap{15000};       ///< K: Σ L stays below this share of the host
  Bytes quantum = Bytes::MiB(64);   ///< capacity is published in multiples of this
  seconds history_min{7200};        ///< a VM watched for less, in this epoch, may claim all
  Bound bound = Bound::kHorizon;
  Permyriad dead_band{50};  ///< C rises by at least this share of the host, or not at all …
  std::optional<Bytes> least_rise{};  ///< … or by this much, where a ReclaimPolicy says so
  seconds rise_delay{300};            ///< C goes up only after this long …
  Permyriad rise_step{200};           ///< … and by this share of the host a minute
  /// Parameters that every guest's driver is to have, where its agent lets us; canonical.
  std::map<std::string, std::string> guest_parameters;
  HybridParams hybrid{};
  seconds horizon{600};     ///< h: for how long a promise has to hold
  seconds cold_after{120};  ///< what was not touched for this long is cold
  seconds stale_after{30};  ///< an older list of VMs, or answer of one, is worth nothing
};

}  // namespace ullage
