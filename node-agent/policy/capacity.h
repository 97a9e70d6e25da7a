// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"
#include "node-agent/model/verdict.h"

namespace ullage::policy {

/// How much may be promised in addition, and what is to be done: values in, a plan out. Reads no
/// clock and no file. docs/policy.md explains each term:
///
///   C1 = A + Rec − Σg − B − U − N,  capped by K × total − Σ L,  in whole quanta,
///   down at once, up slowly.
///
/// Where the host or the VMs are unknown, C is 0: absent is never zero, so it never promises.
Plan Decide(const Snapshot& snapshot, const PolicyParams& params);

/// What admission may still give, since the last plan.
struct Room {
  bool known = false;
  Bytes unsold;      ///< ordinary memory that was never promised
  Bytes additional;  ///< reclaimable capacity that was never granted
};

/// May this VM start? Ordinary memory is given first; only a VM that its owner placed on reclaimed
/// memory is given the rest from reclaimable capacity, rounded up to whole quanta.
Verdict Admit(const Room& room, const VmSpec& vm, const PolicyParams& params);

}  // namespace ullage::policy
