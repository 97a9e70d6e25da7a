// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/limits.h"

#include <algorithm>

#include "node-agent/actuators/balloons.h"
#include "node-agent/model/find.h"
#include "node-agent/model/human.h"

namespace ullage::actuators {
namespace {

using State = Outcome::State;

constexpr milliseconds kLongest{100};
constexpr seconds kCoolDown{600};    // after another writer
constexpr seconds kBetweenLower{5};  // raising is never delayed
constexpr seconds kBetweenSwap{60};
// The kernel rounds down to whole pages; this is whole pages everywhere, and what is read back has
// to be what was written.
constexpr Bytes kWhole = Bytes::KiB(64);
// Between reading the charge and writing the limit the guest may take a little more.
constexpr Permyriad kAboveCharge{10100};

bool IsLimit(const std::string& file) { return file != host::kSwapMax; }

Action Undoing(const host::Leases::Key& key, const char* why) {
  return {Action::Kind::kUnlimit, {key.first}, key.second + ": " + why};
}

}  // namespace

Limits::Limits(Parts parts) : parts_(std::move(parts)) {
  for (const auto& [key, value] : parts_.book.leases().values) unwanted_.insert(key);
}

std::map<VmId, LeasedLimit> Limits::Leased(BootTime now) {
  // ullage-lease may have undone all of it while this process stood still.
  static_cast<void>(parts_.book.Look());
  std::set<Key> drop;
  for (const auto& [key, value] : parts_.book.leases().values) Check(key, value, now, drop);
  Drop(drop);
  std::erase_if(yielded_, [&](const auto& entry) { return now - entry.second >= kCoolDown; });
  std::map<VmId, LeasedLimit> leased;
  for (const auto& [key, value] : parts_.book.leases().values) {
    if (IsLimit(key.second) && value.next) leased[{key.first}] = {*value.next, value.was, false};
  }
  for (const auto& [key, at] : yielded_) {
    if (!IsLimit(key.second)) continue;
    const host::LeasedValue& value = yielded_values_[key];
    leased[{key.first}] = {value.next.value_or(Bytes()), value.was, true};
  }
  return leased;
}

// What stands there is this agent's, or nobody's business of it any more.
void Limits::Check(const Key& key, const host::LeasedValue& value, BootTime now,
                   std::set<Key>& drop) {
  const auto file = host::LeasableFile::Open(parts_.roots, value.cgroup, value.inode, key.second);
  const auto stands = file ? file->Read() : Result<std::optional<Bytes>>(file.error());
  if (!stands) {
    if (stands.error().code() == Code::kGone) drop.insert(key);
    return;
  }
  if (*stands == value.last || *stands == value.next) return;
  drop.insert(key);
  if (*stands == value.was) return;  // undone already, as by a container runtime's update
  yielded_[key] = now;
  yielded_values_[key] = value;
}

bool Limits::Drop(const std::set<Key>& keys) {
  if (keys.empty()) return true;
  const Status changed = parts_.book.Change([&](host::Leases& leases) {
    for (const Key& key : keys) leases.values.erase(key);
  });
  if (!changed) return false;
  for (const Key& key : keys) unwanted_.erase(key);
  return true;
}

std::vector<Outcome> Limits::Apply(const Snapshot& snapshot, const Plan& plan, bool may_take) {
  std::vector<Outcome> outcomes;
  for (const Action& action : plan.actions) {
    if (action.kind == Action::Kind::kLimit || action.kind == Action::Kind::kUnlimit) {
      outcomes.push_back(One(snapshot, action, may_take));
    }
  }
  LiftSwap(snapshot, may_take, outcomes);
  Settle(snapshot, may_take, outcomes);
  return outcomes;
}

Outcome Limits::One(const Snapshot& snapshot, const Action& action, bool may_take) {
  if (!may_take) {
    return {action, State::kSkipped,
            action.kind == Action::Kind::kLimit ? "would limit it to " + Human(action.amount) +
                                                      ": limits are set in mode reclaim only"
                                                : "would take its limit away"};
  }
  if (action.kind == Action::Kind::kUnlimit) {
    for (const auto& [key, value] : parts_.book.leases().values) {
      if (key.first == action.id.value && IsLimit(key.second)) unwanted_.insert(key);
    }
    return {action, State::kQueued, ""};  // Settle does it, in this very tick
  }
  const VmState* vm = FindById(snapshot.vms, action.id);
  if (vm == nullptr) return {action, State::kFailed, "no such VM"};
  if (!MayTakeFrom(*vm))
    return {action, State::kSkipped, "its owner did not allow it, or it is leaving"};
  const Status set = Limit(*vm, action.amount, snapshot.at.boot);
  if (set) return {action, State::kDone, ""};
  const bool later = set.error().code() == Code::kUnavailable;
  return {action, later ? State::kSkipped : State::kFailed, set.error().message()};
}

Status Limits::Limit(const VmState& vm, Bytes amount, BootTime now) {
  const std::string& id = vm.spec.id.value;
  if (!vm.resident) return Error(Code::kUnavailable, "what is charged to it is not known");
  const Bytes limit = std::max(amount, LeastMemory(vm.spec, least_)).CeilTo(kWhole);
  const auto before = lowered_.find(id);
  const bool lower = !vm.leased || vm.leased->yielded || limit < vm.leased->limit;
  if (lower && before != lowered_.end() && now - before->second < kBetweenLower) {
    return Error(Code::kUnavailable, "lowered a moment ago");
  }
  const std::string path = parts_.cgroup(vm.spec.id);
  if (path.empty()) return Error(Code::kUnavailable, "its cgroup is not known");
  const auto v2 = host::LeasableFile::Open(parts_.roots, path, vm.cgroup, host::kHigh);
  if (!v2) return v2.error();
  const bool has_high = v2->Read().ok();
  const std::string file(has_high ? host::kHigh : host::kV1Limit);
  if (yielded_.contains({id, file})) {
    return Error(Code::kUnavailable, "another writer sets its limit: left to that one");
  }
  Status set = Set(vm, file, limit, *vm.resident * kAboveCharge);
  if (set && lower) lowered_[id] = now;
  return set;
}

// The book first, with what stands and what is to stand: a crash between the two leaves one of them
// in the file.
Status Limits::Set(const VmState& vm, const std::string& file, std::optional<Bytes> value,
                   std::optional<Bytes> at_least) {
  if (!parts_.keeper()) {
    return Error(Code::kUnavailable, "ullage-lease does not run: nobody would undo it");
  }
  const std::string path = parts_.cgroup(vm.spec.id);
  const auto target = host::LeasableFile::Open(parts_.roots, path, vm.cgroup, file);
  if (!target) return target.error();
  const auto stands = target->Read();
  if (!stands) return stands.error();
  const Key key{vm.spec.id.value, file};
  const auto held = parts_.book.leases().values.find(key);
  const bool first = held == parts_.book.leases().values.end();
  if (!first && *stands != held->second.last && *stands != held->second.next) {
    return Error(Code::kUnavailable, "another writer has just set it");
  }
  const std::optional<Bytes> was = first ? *stands : held->second.was;
  if (value && was && IsLimit(file)) value = std::min(*value, *was);
  if (value && at_least && *value < *at_least) {
    return Error(Code::kUnavailable, "it holds " + Human(*at_least) + " by now: not squeezed");
  }
  if (*stands == value) {
    unwanted_.erase(key);
    return Ok();
  }
  Status noted = parts_.book.Change([&](host::Leases& leases) {
    leases.values[key] = {path, target->inode(), was, *stands, value};
  });
  if (!noted) return noted;
  unwanted_.erase(key);
  // The tick waits for it, and so does the sign of life.
  Status written = target->Write(value, kLongest);
  if (!written && first) Drop({key});
  if (!written || (parts_.keeper() && parts_.book.Holds(key))) return written;
  // Undone and forgotten before this came to stand: this process had stood still.
  static_cast<void>(host::Undo(parts_.roots, file, {path, target->inode(), was, *stands, value}));
  return Error(Code::kUnavailable, "ullage-lease has just undone it");
}

// memory.swap.max is raised, so it takes nothing: how much may go there, the reclaim decides.
void Limits::LiftSwap(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes) {
  if (!may_take || !snapshot.host.swap_total || *snapshot.host.swap_total <= Bytes()) return;
  const BootTime now = snapshot.at.boot;
  for (const VmState& vm : snapshot.vms) {
    const std::string& id = vm.spec.id.value;
    if (!MayTakeFrom(vm) || vm.swap_limit != Bytes() || vm.cgroup == 0) continue;
    const Key key{id, std::string(host::kSwapMax)};
    if (yielded_.contains(key) || parts_.book.leases().values.contains(key)) continue;
    const auto tried = swap_tried_.find(id);
    if (tried != swap_tried_.end() && now - tried->second < kBetweenSwap) continue;
    swap_tried_[id] = now;
    const Status set = Set(vm, key.second, std::nullopt, std::nullopt);
    Action action{Action::Kind::kUnlimit, vm.spec.id, "its memory.swap.max is 0"};
    outcomes.push_back({std::move(action), set ? State::kDone : State::kFailed,
                        set ? "it may be swapped out while this agent lives"
                            : set.error().message() + ": nothing of it can be recovered"});
  }
  std::erase_if(swap_tried_,
                [&](const auto& entry) { return now - entry.second > 2 * kBetweenSwap; });
}

void Limits::Settle(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes) {
  std::set<Key> settled;
  for (const auto& [key, value] : parts_.book.leases().values) {
    const VmState* vm = FindById(snapshot.vms, VmId{key.first});
    // Who is not there for certain is asked again by its cgroup, in the next tick.
    const bool keeps = vm == nullptr ? !KnowsWhoRuns(snapshot) : MayTakeFrom(*vm);
    if (may_take && keeps && !unwanted_.contains(key)) continue;
    const auto undone = host::Undo(parts_.roots, key.second, value);
    if (undone || undone.error().code() == Code::kInvalid) settled.insert(key);
    outcomes.push_back({Undoing(key, "what this agent set is undone"),
                        undone ? State::kDone : State::kFailed,
                        undone ? "" : undone.error().message()});
  }
  Drop(settled);
  std::erase_if(lowered_, [&](const auto& entry) {
    return snapshot.at.boot - entry.second > 2 * kBetweenLower;
  });
}

}  // namespace ullage::actuators
