// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/balloons.h"

#include <algorithm>

#include "node-agent/model/find.h"
#include "node-agent/model/human.h"

namespace ullage::actuators {
namespace {

constexpr seconds kBetweenSteps{1};  // each has a QEMU and a guest at work
constexpr seconds kAskAgain{5};

}  // namespace

bool MayTakeFrom(const VmState& vm) {
  return vm.spec.reclaim == Reclaim::kHybrid && vm.exempt.empty() && !vm.leaving;
}

bool KnowsWhoRuns(const Snapshot& snapshot) {
  if (!snapshot.vms_listed_at || !snapshot.vms_fault.empty()) return false;
  return !snapshot.node || (snapshot.node->heard_at && snapshot.node->fault.empty());
}

Balloons::Balloons(BalloonSetter& setter, host::LeaseBook& book) : setter_(setter), book_(book) {
  for (const auto& [vm, was] : book_.leases().balloons) returning_.insert(vm);
}

std::vector<Outcome> Balloons::Apply(const Snapshot& snapshot, const Plan& plan, bool may_take) {
  std::vector<Outcome> outcomes;
  for (const Action& action : plan.actions) {
    if (action.kind != Action::Kind::kSetBalloon) continue;
    const VmState* vm = FindById(snapshot.vms, action.id);
    outcomes.push_back(One(vm, action, may_take, snapshot.at.boot));
  }
  GiveBack(snapshot, may_take, outcomes);
  return outcomes;
}

Outcome Balloons::One(const VmState* vm, const Action& action, bool may_take, BootTime now) {
  using State = Outcome::State;
  if (!may_take) {
    return {action, State::kSkipped,
            "would leave " + Human(action.amount) + ": memory is taken in mode reclaim only"};
  }
  if (vm == nullptr) return {action, State::kFailed, "no such VM"};
  if (!MayTakeFrom(*vm))
    return {action, State::kSkipped, "its owner did not allow it, or it is leaving"};
  const std::string& id = action.id.value;
  const auto held = book_.leases().balloons.find(id);
  if (held != book_.leases().balloons.end() && action.amount >= held->second) {
    if (returning_.insert(id).second) asked_back_.erase(id);
    return {action, State::kQueued, ""};
  }
  if (const Status taken = Take(*vm, action.amount, now); !taken) {
    return {action, State::kFailed, taken.error().message()};
  }
  return {action, State::kQueued, ""};
}

// Growing is never delayed. What stands in the book before is what the guest gets back, however
// often it is moved until then.
Status Balloons::Take(const VmState& vm, Bytes left, BootTime now) {
  const std::string& id = vm.spec.id.value;
  if (vm.spec.guest_memory == Bytes::Max()) {
    return Error(Code::kUnavailable, "how much memory it has is not known yet");
  }
  const auto held = book_.leases().balloons.find(id);
  const Bytes most = held != book_.leases().balloons.end()
                         ? held->second
                         : std::min(vm.guest.balloon.value_or(Bytes()), vm.spec.guest_memory);
  if (most <= Bytes()) return Error(Code::kUnavailable, "what its balloon leaves is not known");
  const Bytes least = std::min(LeastMemory(vm.spec, least_), most);
  const Bytes wish = Clamp(left, least, most);
  if (held == book_.leases().balloons.end() && wish == most) return Ok();
  const bool less = vm.guest.balloon && wish < *vm.guest.balloon;
  const auto before = set_at_.find(id);
  if (less && before != set_at_.end() && now - before->second < kBetweenSteps) return Ok();
  if (held == book_.leases().balloons.end()) {
    Status noted = book_.Change([&](host::Leases& leases) { leases.balloons.emplace(id, most); });
    if (!noted) return noted;
  }
  Status set = setter_.SetBalloon(vm.spec.id, wish);
  if (!set) return set;
  returning_.erase(id);
  if (less) set_at_[id] = now;
  return Ok();
}

void Balloons::GiveBack(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes) {
  const BootTime now = snapshot.at.boot;
  std::set<std::string> settled;
  for (const auto& [id, was] : book_.leases().balloons) {
    const VmState* vm = FindById(snapshot.vms, VmId{id});
    if (vm == nullptr || vm->bound_only) {
      if (KnowsWhoRuns(snapshot)) settled.insert(id);  // a balloon ends with its QEMU
      continue;
    }
    if (!may_take || !MayTakeFrom(*vm)) returning_.insert(id);
    if (!returning_.contains(id)) continue;
    const bool whole = vm->guest.balloon && *vm->guest.balloon >= was;
    const auto asked = asked_back_.find(id);
    // Once more in any case: an order for less may still have been on its way when it was read.
    if (whole && asked != asked_back_.end()) {
      settled.insert(id);
    } else if (asked == asked_back_.end() || now - asked->second >= kAskAgain) {
      const Status set = setter_.SetBalloon(vm->spec.id, was);
      if (set) asked_back_[id] = now;
      Action action{Action::Kind::kSetBalloon, vm->spec.id, "what was taken is given back"};
      action.amount = was;
      outcomes.push_back({std::move(action),
                          set ? Outcome::State::kQueued : Outcome::State::kFailed,
                          set ? "" : set.error().message()});
    }
  }
  if (settled.empty()) return;
  // What cannot be struck out is settled again in the next tick.
  const Status noted = book_.Change([&](host::Leases& leases) {
    for (const std::string& id : settled) leases.balloons.erase(id);
  });
  if (!noted) return;
  for (const std::string& id : settled) {
    returning_.erase(id);
    asked_back_.erase(id);
    set_at_.erase(id);
  }
}

}  // namespace ullage::actuators
