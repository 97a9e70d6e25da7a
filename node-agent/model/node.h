// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/bytes.h"
#include "node-agent/model/mode.h"
#include "node-agent/model/params.h"
#include "node-agent/model/shared_list.h"
#include "node-agent/model/time.h"
#include "node-agent/model/vm.h"

namespace ullage {

/// A pod that is bound to this node and has not ended (core/v1 Pod, phase neither Succeeded nor
/// Failed), as the scheduler counts it.
struct PodSample {
  std::string uid;
  std::string name_space;
  std::string name;
  Bytes memory;             ///< effective memory request, pod overhead included
  Bytes reclaimable;        ///< effective request of ullage.io/reclaimable-memory
  std::optional<VmId> vmi;  ///< UID of the VMI whose launcher it is (kubevirt.io/created-by)
  std::string fault;        ///< what of it could not be read; what could is counted
};

/// A VirtualMachineInstance that has, or is about to have, a launcher on this node.
struct VmiSample {
  VmSpec spec;  ///< id: metadata.uid; name: <namespace>/<name>
  std::string name_space;
  std::string name;
  std::string launcher;    ///< UID of its pod here (status.activePods); empty: none yet
  std::string exempt;      ///< why it is left alone, for people; empty: it is not
  std::string hints_off;   ///< why KubeVirt gives it no free page reporting; empty: it does
  bool leaving = false;    ///< a migration away from this node is under way
  std::string stays;       ///< why KubeVirt does not migrate it; empty: nothing says so
  bool keeps_pod = false;  ///< … and refuses its eviction, too (evictionStrategy: LiveMigrate)
  std::string fault;       ///< what of it could not be read; the defaults apply
};

/// A pod that asked for reclaimable memory and that this node's kubelet turned away before anything
/// of it ran (phase Failed, reason "OutOf" and a resource). Source: Kubernetes,
/// pkg/kubelet/lifecycle/predicate.go.
struct RejectedPod {
  std::string uid;
  std::string name_space;
  std::string name;
  std::string vmi;      ///< name and …
  std::string vmi_uid;  ///< … UID of the VMI that owns it; both empty: it has none
  std::string reason;   ///< "OutOfullage.io/reclaimable-memory"
  std::string message;  ///< the kubelet's words
  std::string created;  ///< metadata.creationTimestamp, RFC 3339 in UTC
};

/// What the API server says of this node. Absent in a snapshot: there is no Kubernetes here.
struct NodeSample {
  std::string name;
  std::string uid;
  std::optional<BootTime> heard_at;  ///< when every collection was last known to be followed;
                                     ///< absent: not all of them were listed yet
  std::string fault;                 ///< why it is not followed now
  std::optional<Bytes> allocatable;  ///< status.allocatable["memory"]
  std::optional<Bytes> published;    ///< status.capacity of our resource; absent: no such key
  SharedList<PodSample> pods;        ///< sorted by uid
  SharedList<VmiSample> vmis;        ///< sorted by id
  /// By the uid of a pod that is no VM's: what its cgroup charges, without what MemAvailable counts
  /// all the same (page cache, reclaimable slab): not available to others, so it need not be kept
  /// for this pod once more. Without an entry: unknown.
  std::map<std::string, Bytes> pod_working_sets;
  std::vector<RejectedPod> rejected;   ///< that still have an object: newest first, some tens
  std::uint64_t rejections = 0;        ///< seen since the pods were first listed
  std::string policy;                  ///< the ReclaimPolicy in force; empty: none
  std::string policy_fault;            ///< why none is, where one should be, or what in it is wrong
  std::optional<Mode> max_mode;        ///< the most that the policy allows; absent: no policy
  std::optional<PolicyParams> params;  ///< the configuration's, with the policy's over them;
                                       ///< absent: no policy
};

}  // namespace ullage
