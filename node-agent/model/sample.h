// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/bytes.h"
#include "node-agent/model/hybrid.h"
#include "node-agent/model/node.h"
#include "node-agent/model/shared_list.h"
#include "node-agent/model/time.h"
#include "node-agent/model/vm.h"

namespace ullage {

/// The machine, or the memory cgroup that plays it. Absent is not zero.
struct HostSample {
  std::optional<Bytes> total;      ///< MemTotal, or the cgroup's limit when that is smaller
  std::optional<Bytes> available;  ///< MemAvailable, or what the cgroup leaves when that is less
  std::optional<Bytes> free;       ///< MemFree
  std::optional<Permyriad> pressure_some_avg10;  ///< PSI memory "some", 1 % = 100
  std::optional<Bytes> swap_total{};             ///< SwapTotal
  std::optional<Bytes> swap_free{};              ///< SwapFree
  std::string fault;                             ///< why something is absent
  /// On a Kubernetes node, what pods may still take: before the kubelet evicts some (MemTotal − the
  /// root cgroup's working set − its threshold; below zero: it does), and below the limit of all of
  /// them (kubepods' limit − its working set). Absent: no such bound is known.
  std::optional<Bytes> until_eviction{};
  std::optional<Bytes> pods_left{};
};

/// What the host charges to one VM: the memory cgroup of its QEMU. The only figure that memory
/// returned is judged by; RSS lies below 2 MiB pages (facts: QEMU sets MADV_HUGEPAGE).
struct ChargeSample {
  std::optional<Bytes> resident;  ///< v2 memory.current, v1 memory.usage_in_bytes
  std::optional<Bytes> swapped;   ///< v2 memory.swap.current, v1 memsw − usage
  std::optional<Bytes> peak;      ///< v2 memory.peak, v1 memory.max_usage_in_bytes
  std::uint64_t cgroup = 0;       ///< inode: identity of what was read, 0 when nothing was
  std::optional<Bytes> limit{};   ///< v2 memory.high, v1 memory.limit_in_bytes; absent: none, or
                                  ///< not read
  std::optional<Bytes> swap_limit{};               ///< v2 memory.swap.max; absent: none, or v1
  std::optional<std::uint64_t> major_faults{};     ///< memory.stat pgmajfault, since it was made
  std::optional<std::uint64_t> refaults{};         ///< memory.stat workingset_refault_anon, pages
  std::optional<Permyriad> pressure_some_avg10{};  ///< v2 memory.pressure
  std::string fault;                               ///< why something is absent
};

struct VmSample {
  QemuFacts qemu;
  ChargeSample charge;
  WorkingSet working_set{};
};

/// Memory promised through admission: the ledger's entry, whether or not a QEMU runs yet.
struct Grant {
  VmSpec spec;
  Bytes ordinary;   ///< taken from memory that was never promised before
  Bytes reclaimed;  ///< taken from reclaimable capacity, in whole quanta
  WallTime since;
};

/// A parameter of a guest's driver that this agent changed, or is about to: what undoes it.
struct GuestChange {
  VmId vm;
  std::string name;
  std::string before;  ///< canonical, like `written`
  std::string written;
};

/// Everything that was seen in one tick.
struct Samples {
  Moment at;
  HostSample host;
  std::vector<VmSample> vms;
  std::optional<BootTime> vms_listed_at;  ///< absent: never listed, so nobody knows who runs
  std::string vms_fault;
  SharedList<Grant> grants;
  bool grants_complete = false;  ///< the grants name every VM that may run here
  std::vector<GuestChange> guest_changes;
  std::map<VmId, LeasedLimit> leased;  ///< what of this agent's limits stands, by its own book
  std::optional<NodeSample> node;      ///< absent: there is no Kubernetes here
};

}  // namespace ullage
