// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/bytes.h"
#include "node-agent/model/result.h"

namespace ullage::host {

/// Has the kernel take about `amount` from the cgroup at `path` (absolute), and returns what it is
/// charged less afterwards. The kernel chooses by its lists of what was used least lately, where
/// each use by a process or a virtual CPU counts. No limit is changed, and nothing has to be
/// undone. v2: memory.reclaim (Documentation/admin-guide/cgroup-v2.rst, Linux 5.19). v1:
/// memory.force_empty (cgroup-v1/memory.rst), which would take everything: a signal ends it once
/// the charge has fallen by `amount`, or after a second. kGone: no such cgroup, or a kernel without
/// the file.
Result<Bytes> ReclaimFrom(const std::string& path, Bytes amount);

}  // namespace ullage::host
