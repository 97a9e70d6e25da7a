// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "node-agent/actuators/balloons.h"
#include "node-agent/actuators/limits.h"
#include "node-agent/actuators/mover.h"
#include "node-agent/actuators/pager.h"
#include "node-agent/model/mode.h"

namespace ullage::actuators {

/// Carries out all that takes memory from VMs and gives it back (Action::Kind from kSetBalloon on).
/// Below mode reclaim it says what it would do. Only the tick's thread calls it.
class Taker {
 public:
  Taker(BalloonSetter& setter, Limits::Parts limits)
      : book_(limits.book), balloons_(setter, limits.book), limits_(std::move(limits)) {}

  /// Who pages out; without it nothing is. It outlives this.
  void Use(Paging& paging) { paging_ = &paging; }
  /// Who migrates and evicts; without it nobody is. It outlives this.
  void Use(Moving& moving) { moving_ = &moving; }
  /// What of this agent's limits stands; for the samples.
  std::map<VmId, LeasedLimit> Leased(BootTime now) { return limits_.Leased(now); }
  /// Enqueues and never blocks; an outcome for each such action, and for all that it undoes.
  std::vector<Outcome> Apply(const Snapshot& snapshot, const Plan& plan, Mode mode);
  /// The share of a VM's memory that it keeps, whatever a plan says (HybridParams::min_memory).
  void KeepAtLeast(Permyriad share) {
    balloons_.KeepAtLeast(share);
    limits_.KeepAtLeast(share);
  }

  /// From now on nothing is taken, and everything is given back.
  void Release();
  /// Whether there is something left to give back.
  bool Owes() const { return !book_.leases().values.empty() || !book_.leases().balloons.empty(); }

 private:
  Outcome Page(const Snapshot& snapshot, const Action& action, bool may_take);
  Outcome Move(const Snapshot& snapshot, const Action& action, bool may_take);

  Paging* paging_ = nullptr;
  Moving* moving_ = nullptr;
  host::LeaseBook& book_;
  Balloons balloons_;
  Limits limits_;
  bool released_ = false;
};

}  // namespace ullage::actuators
