// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/model/result.h"

namespace ullage::host {

/// A pod's metadata.uid: the UUID that the API server makes, in lower case, or the 32 hex digits
/// that a kubelet makes for a pod of its own (a static one). What passes is safe in a path.
bool IsPodUid(std::string_view text);

/// The pod to which a cgroup belongs.
struct PodCgroup {
  std::string uid;   ///< as in metadata.uid, however the cgroup driver spells it
  std::string path;  ///< the pod's own cgroup: the first part of the path that was asked about
};

/// Which pod the cgroup at `path` (from the root of its hierarchy) belongs to: its own folder, or
/// anything below it. The kubelet names that folder, with either of its drivers:
///   cgroupfs  …/kubepods[/burstable|/besteffort]/pod<uid>
///   systemd   …/[<root>-]kubepods[-burstable|-besteffort]-pod<uid, "_" for "-">.slice,
///             below the slice that its name says
/// Whatever stands before (the kubelet's --cgroup-root) or below (a container by containerd, CRI-O
/// or any other runtime) is not looked at.
/// kNotFound: it is no pod's. kInvalid: no absolute plain path of at most 4,096 bytes; or pods
/// within a pod, because a container that makes cgroups may name them like another's pod.
/// Source: Kubernetes, pkg/kubelet/cm (cgroup_manager_linux.go, pod_container_manager_linux.go).
Result<PodCgroup> PodOfCgroup(std::string_view path);

/// The cgroup of all of the kubelet's pods, by that of one: the folder kubepods or
/// [<root>-]kubepods.slice above it.
std::string AllPodsOf(const PodCgroup& pod);

/// The reverse: the path, from its root, of the pod's own cgroup in the hierarchy mounted at
/// `root`. Never looked for within another pod. kInvalid: `uid` is none; kNotFound, kExhausted: see
/// FindFolder.
Result<std::string> FindPodCgroup(const std::string& root, std::string_view uid);

}  // namespace ullage::host
