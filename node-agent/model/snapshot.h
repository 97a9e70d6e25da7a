// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/sample.h"

namespace ullage {

/// Since when a VM is charged for what its guest says it returned (model/discard.h).
struct KeptWatch {
  BootTime since;
  Bytes most;  ///< the highest charge since
};

/// One VM as the policy sees it.
struct VmState {
  VmSpec spec;
  Bytes promised;   ///< L: guest memory and QEMU's overhead; on Kubernetes its pod's requests
  Bytes ordinary;   ///< the part of L that stands on memory promised once
  Bytes reclaimed;  ///< the part of L that stands on reclaimable capacity
  std::optional<Bytes> resident;
  std::optional<Bytes> swapped;
  std::optional<Bytes> peak;         ///< highest charge of this epoch
  std::optional<Bytes> kernel_peak;  ///< the cgroup's own high-water mark, which no reboot resets
  std::optional<Bytes> returned;     ///< peak − charge − swap: held once, the host's again
  Hinting hinting = Hinting::kUnknown;
  HintingProof proof;
  std::optional<bool> autodeflate{};  ///< QemuFacts'
  GuestStats guest;
  GuestAgent agent = GuestAgent::kUnknown;
  std::string agent_fault;
  std::optional<GuestModule> module;
  Run run = Run::kUnknown;
  std::uint64_t epoch = 0;
  std::optional<BootTime> watched_since;  ///< start of this epoch, as far as this agent saw it
  std::uint64_t cgroup = 0;
  std::optional<BootTime> answered_at;
  bool bound_only = false;  ///< granted, no QEMU seen yet
  bool stalled = false;
  std::string fault;
  std::string exempt{};           ///< why it is left alone, for people; empty: it is not
  std::string hints_off{};        ///< why KubeVirt gives it no free page reporting; empty: it does
  bool leaving = false;           ///< it migrates away
  std::string stays{};            ///< why KubeVirt does not migrate it; empty: nothing says so
  bool keeps_pod = false;         ///< … and refuses its eviction, too
  std::optional<KeptWatch> kept;  ///< absent: nothing is suspected
  WorkingSet working_set{};
  std::optional<std::uint64_t> major_faults{};  ///< since its cgroup was made
  std::optional<std::uint64_t> refaults{};
  std::optional<std::uint64_t> faults_a_minute{};  ///< pages it waited for, by the host's count
  std::optional<Permyriad> pressure_some_avg10{};
  std::optional<Bytes> swap_limit{};
  std::optional<LeasedLimit> leased{};
  /// When the guest last said that its own swap was used. Its word, like `guest`.
  std::optional<BootTime> guest_swapped_at{};
  HybridState hybrid{};
};

/// What an agent that ended left to the one after it, of the same boot (agent/carried.h).
struct Inherited {
  struct Vm {
    VmId id;
    std::uint64_t cgroup = 0;
    Bytes resident;
    BootTime watched_since;
  };
  Bytes additional;     ///< C of its last plan
  Bytes granted;        ///< Σ granted then
  BootTime until;       ///< afterwards it is worth nothing
  std::vector<Vm> vms;  ///< that were not found again yet
};

/// What the last tick left for this one: the only memory that the policy has.
struct Carried {
  Bytes additional;                    ///< C of the last plan
  Bytes granted;                       ///< Σ granted then; what was bound since came out of C
  std::optional<BootTime> rise_since;  ///< since when C could have been higher
  std::optional<BootTime> last_rise;   ///< when C was last raised
  std::optional<Inherited> inherited{};
  Escalation escalation{};
};

/// One consistent view of the node. VMs are sorted by id, so that their order decides nothing.
struct Snapshot {
  Moment at;
  HostSample host;
  std::vector<VmState> vms;
  std::optional<BootTime> vms_listed_at;
  bool grants_complete = false;
  std::string vms_fault;
  std::vector<GuestChange> guest_changes;
  std::optional<NodeSample> node;  ///< absent: there is no Kubernetes here
  Carried carried;
};

}  // namespace ullage
