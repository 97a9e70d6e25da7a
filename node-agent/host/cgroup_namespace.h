// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "node-agent/host/file.h"

namespace ullage::host {

/// What "/" in /proc/PID/cgroup stands for when process `pid` (this one, or another of the same
/// cgroup namespace) reads it: a path from the root of the hierarchy that counts memory, for
/// Roots::cgroup_namespace. "/" in the host's own namespace.
/// A container runtime gives a container on cgroup v2 a namespace whose root is the container's own
/// cgroup, and nothing tells the container where that is. So it is looked for: the cgroup that has
/// `pid` in it, within the pod whose UID is `pod_uid` (the downward API's metadata.uid), in the
/// host's hierarchy as mounted at roots.cgroup; less what /proc/PID/cgroup says beyond its root.
/// It does not change while the process lives. kNotFound: the mounted hierarchy has no such pod, or
/// not the process in it (is it the host's own?); kInvalid: the two do not agree.
/// Source: cgroup_namespaces(7).
Result<std::string> CgroupNamespaceRoot(const Roots& roots, std::string_view pod_uid,
                                        std::int32_t pid);

}  // namespace ullage::host
