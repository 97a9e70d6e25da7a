// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"

namespace ullage::policy {

/// How short the host is: A against B, with the marks of `rules`. Worse at once; better only once A
/// stands an eighth of B above the mark, so that a host at a mark does not swing. Where A is
/// unknown it stays as it was in the last tick. None where A would meet every promise at once,
/// however little that is.
Squeeze SqueezeOf(const Snapshot& snapshot, const Capacity& capacity, const HybridParams& rules);

/// Does `a` give before `b`: is its ρ = shares / (R · (f + 4 · (1 − f))) the lower one? Idle memory
/// counts four times (a tax of 75 %; Waldspurger, OSDI 2002, section 5), and f is what the host
/// saw. Where nobody looked, all of it counts as used. A total order over distinct VMs.
bool GivesFirst(const VmState& a, const VmState& b);

/// Adds the last steps to `plan`, whose squeeze, carry and hybrid are set: from `limit` on one VM
/// is migrated, and at `evict` one that stands on reclaimed memory is evicted, one each
/// `HybridParams::victim_every`. Only on Kubernetes, and never while the API server is away.
/// Whoever KubeVirt would refuse to move is not chosen: it would cost a turn and win nothing.
void Escalate(const Snapshot& snapshot, const PolicyParams& params, Plan& plan);

}  // namespace ullage::policy
