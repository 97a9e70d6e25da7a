// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/sample.h"
#include "node-agent/model/snapshot.h"

namespace ullage {

/// L: what a VM may hold at most, as the scheduler counts it.
Bytes Promised(const VmSpec& spec, const Overhead& overhead);

/// The next snapshot: what was seen now, and what only the last tick can tell (peaks, epochs, the
/// capacity that stands). Pure.
Snapshot Fold(const Snapshot& previous, Samples samples, const Overhead& overhead);

/// The snapshot with what the plan leaves to the next tick: the next Fold() begins from it.
Snapshot Remember(Snapshot snapshot, const Plan& plan);

}  // namespace ullage
