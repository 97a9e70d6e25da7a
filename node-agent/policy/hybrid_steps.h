// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"

namespace ullage::policy {

/// One VM of a tick: what was seen of it, and what becomes of it.
struct Seat {
  const VmState* vm = nullptr;
  HybridState* state = nullptr;
  std::string* says = nullptr;  ///< for its owner
  bool acts = false;            ///< it is hybrid, and all is known that a step needs
  bool needy = false;           ///< never shrunk then
  Bytes floor;                  ///< m
  Bytes surplus;                ///< R − m, at least 0
  Bytes entitled;               ///< its share of what the hybrid VMs hold
};

/// What can be done to one VM in a tick; each step has its own pace. Values in, actions out.
class HybridSteps {
 public:
  enum class Step {
    kTaken,
    kWaits,  ///< one is under way, or the guest's word holds it back
    kStuck,  ///< no way to take from it is left now
  };

  HybridSteps(const Snapshot& snapshot, const HybridParams& rules, Plan& plan);

  /// Limits that another writer took, or that never came to stand; whether it grows.
  void Upkeep(Seat& seat) const;

  /// Takes up to `wanted`: by its balloon, where that makes no progress by paging out.
  Step Shrink(Seat& seat, Bytes wanted, bool hurry);
  /// Takes a little of what is cold, where nobody is short.
  void PageOutCold(Seat& seat);
  /// Its limit, just above what it holds.
  void Limit(Seat& seat);

  /// True where there was a limit of ours to lift.
  bool Unlimit(Seat& seat, const std::string& why);
  /// What it has in swap, ahead of its faults; at most once a minute. How much, 0 for none.
  Bytes Fetch(Seat& seat, Bytes most);
  void Deflate(Seat& seat, Bytes most, const std::string& why);
  /// A part of its balloon, where its guest says that it is about to run out: it would kill a
  /// program for what the host has taken. Its word can win it no more than its own memory.
  void Relieve(Seat& seat);
  /// `spare` of its balloon, and at least a little, at the pace at which balloons are filled.
  void DeflateAtRest(Seat& seat, Bytes spare);
  /// Everything of ours is undone: it is no longer ours to shrink.
  void Release(Seat& seat, const std::string& why);

 private:
  enum class Balloon { kStep, kWait, kNo };

  Balloon JudgeBalloon(Seat& seat);
  Step StepBalloon(Seat& seat, Bytes wanted);
  void GiveUpBalloon(Seat& seat);
  Bytes Reserve(const Seat& seat, Bytes most, Permyriad share);
  Step PageOut(Seat& seat, Bytes amount, milliseconds every, bool hurry);
  void Add(Action::Kind kind, const Seat& seat, Bytes amount, const std::string& why);

  const HybridParams& rules_;
  Plan& plan_;
  const BootTime now_;
  Bytes swap_left_;  ///< that pages of VMs may still be put into in this tick
};

}  // namespace ullage::policy
