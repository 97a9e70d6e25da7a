// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"

namespace ullage::policy {

/// Who gives memory, who gets it and in which order (docs/policy.md, "Hybrid reclaim"). Called once
/// the capacity of `plan` is decided: it sets the squeeze, what is carried, each VM's HybridState
/// and reason, and adds actions. It takes C back to 0 where the host is short, and never raises it.
///
/// What the host measured decides who gives and who is needy. What a guest says of itself can only
/// hold back how its own memory is taken.
void DecideHybrid(const Snapshot& snapshot, const PolicyParams& params, Plan& plan);

/// Of B: from here on balloons are emptied.
inline constexpr Permyriad kPlenty{12500};

/// What the host saw the VM use of what it holds; all of it where nobody looked.
Bytes WorkingSetOf(const VmState& vm);

/// m: no step takes it below this. Its owner's least, or a share of the guest's memory, and never
/// less than its working set.
Bytes FloorOf(const VmState& vm, const HybridParams& rules);

/// Does it wait for memory, by the host's own figures? A single burst of faults counts at once,
/// fewer by their average in `state`. Why, for people; empty: it does not, or
/// nobody knows.
std::string WhyNeedy(const VmState& vm, const HybridState& state, const HybridParams& rules);

}  // namespace ullage::policy
