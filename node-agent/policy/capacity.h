// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"
#include "node-agent/model/verdict.h"
#include "node-agent/policy/together.h"

namespace ullage::policy {

/// What its history says of one VM. Nothing where it has none.
struct Outlook {
  seconds observed{};  ///< for how long its charge was seen since its guest started
  Permyriad growth{};  ///< share of L: what it grew by within the horizon in 99 % of the windows,
                       ///< and a margin
  Bytes reclaimed{};   ///< what could be taken from it within a horizon, by what was
};

/// What the histories say of a snapshot; same order as its VMs. Without any, nobody has one.
struct Forecast {
  std::vector<Outlook> vms;
  Together together{};
  PromiseAudit audit;
};

/// The most that the VM can come to hold: L, but where KubeVirt promises less than the guest has
/// (memoryOvercommit) the guest's own size.
Bytes CeilingOf(const VmState& vm);

/// L − R: what the VM may claim and does not hold; never below 0.
Bytes RestOf(const VmState& vm);

/// What the VM has, wherever it is: R and what of it is in swap.
Bytes HeldOf(const VmState& vm);

/// A watch that is silent for longer has lost its server (kube/reflector.h gives it 150 s).
inline constexpr seconds kFollowedFor{180};

/// Whether that was less than `limit` ago.
bool Within(const std::optional<BootTime>& then, BootTime now, milliseconds limit);

/// How much may be promised in addition, and what is to be done: values in, a plan out. Reads no
/// clock and no file. docs/policy.md explains each term:
///
///   C1 = A + Rec − G − B − U − N,  capped by K × total − Σ L,  in whole quanta,
///   down at once, up slowly and only by what is worth it.
///
/// Where the host or the VMs are unknown, C is 0: absent is never zero, so it never promises.
Plan Decide(const Snapshot& snapshot, const PolicyParams& params, const Forecast& forecast = {});

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
