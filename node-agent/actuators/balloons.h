// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "node-agent/actuators/balloon_setter.h"
#include "node-agent/host/lease.h"
#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"

namespace ullage::actuators {

/// Carries out what a plan wants of balloons; enqueues and never blocks. What a guest's balloon
/// left before is written down before it is moved, and given back when the plan says so, when the
/// VM is no longer hybrid, when this agent may not take any more, and by the next agent.
class Balloons {
 public:
  /// What `book` holds already is an earlier agent's, and is given back.
  Balloons(BalloonSetter& setter, host::LeaseBook& book);

  /// `may_take`: false below mode reclaim: says what it would do, and gives back.
  std::vector<Outcome> Apply(const Snapshot& snapshot, const Plan& plan, bool may_take);
  /// From now on, whatever a plan says (HybridParams::min_memory).
  void KeepAtLeast(Permyriad share) { least_ = share; }

 private:
  Outcome One(const VmState* vm, const Action& action, bool may_take, BootTime now);
  Status Take(const VmState& vm, Bytes left, BootTime now);
  void GiveBack(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes);

  Permyriad least_ = HybridParams().min_memory;
  BalloonSetter& setter_;
  host::LeaseBook& book_;
  std::set<std::string> returning_;             ///< those of the book that are to be whole again
  std::map<std::string, BootTime> set_at_;      ///< when one was last asked for less
  std::map<std::string, BootTime> asked_back_;  ///< … and for all
};

/// Whether its owner allows that memory is taken from it, and nothing speaks against it now.
bool MayTakeFrom(const VmState& vm);
/// Whether a VM that is not in `snapshot` has ended for certain.
bool KnowsWhoRuns(const Snapshot& snapshot);

}  // namespace ullage::actuators
