// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/gate.h"

#include <algorithm>

#include "node-agent/model/fold.h"

namespace ullage::agent {
namespace {

bool SamePromise(const VmSpec& a, const VmSpec& b) {
  return a.guest_memory == b.guest_memory && a.vcpus == b.vcpus && a.placement == b.placement;
}

bool Listed(const Snapshot& snapshot) {
  return snapshot.vms_listed_at.has_value() && snapshot.vms_fault.empty();
}

}  // namespace

policy::Room Gate::RoomNow() const {
  policy::Room room = room_;
  for (const Pending& pending : pending_) {
    room.unsold -= pending.ordinary;
    room.additional -= pending.reclaimed;
  }
  return room;
}

Verdict Gate::Reserve(const VmSpec& vm, bool already_running) {
  Verdict verdict = Decide(vm, already_running);
  options_.say(vm.name + (verdict.admitted ? " is admitted: " : " is refused: ") + verdict.reason);
  return verdict;
}

Verdict Gate::Decide(const VmSpec& vm, bool already_running) {
  std::unique_lock lock(mutex_);
  if (const auto held = ledger_.Find(vm.id); held && SamePromise(held->spec, vm)) {
    return {true, "already admitted", held->ordinary + held->reclaimed, held->ordinary,
            held->reclaimed};
  }
  if (already_running) {
    const Bytes promised = Promised(vm, params_.overhead);
    return Write(vm, {true, "it runs already", promised, promised, Bytes()});
  }
  known_.wait_for(lock, options_.patience, [&] { return room_.known; });
  Verdict verdict = policy::Admit(RoomNow(), vm, params_);
  if (!verdict.admitted && !options_.enforce) {
    verdict.admitted = true;
    verdict.ordinary = verdict.promised;
    verdict.reason = "this agent only observes; it would say: " + verdict.reason;
  }
  if (!verdict.admitted) return verdict;
  return Write(vm, std::move(verdict));
}

Verdict Gate::Write(const VmSpec& vm, Verdict verdict) {
  const Grant grant{vm, verdict.ordinary, verdict.reclaimed, clock_.Now().wall};
  if (const Status written = ledger_.Put(grant); !written) {
    return {false, written.error().message(), verdict.promised, Bytes(), Bytes()};
  }
  pending_.push_back({++sequence_, verdict.ordinary, verdict.reclaimed});
  missing_.erase(vm.id);
  return verdict;
}

bool Gate::Release(const VmId& vm) {
  // What it held shows as room at the next tick, once its memory has been seen to be free.
  const std::lock_guard lock(mutex_);
  missing_.erase(vm);
  const auto held = ledger_.Find(vm);
  const auto removed = ledger_.Remove(vm);
  if (held)
    options_.say(held->spec.name +
                 (removed.ok() ? " is released" : " stays: " + removed.error().message()));
  return removed.ok() && *removed;
}

std::vector<Grant> Gate::Grants() const {
  const std::lock_guard lock(mutex_);
  sampled_ = sequence_;
  return ledger_.Grants();
}

std::vector<std::string> Gate::Update(const Snapshot& snapshot, const Plan& plan) {
  const std::lock_guard lock(mutex_);
  const bool vms_known = snapshot.vms_listed_at || snapshot.grants_complete;
  room_.known = vms_known && snapshot.host.total && snapshot.host.available;
  room_.unsold = plan.capacity.unsold;
  room_.additional = plan.capacity.additional;
  std::erase_if(pending_, [&](const Pending& pending) { return pending.sequence <= sampled_; });
  if (room_.known) known_.notify_all();
  if (!Listed(snapshot)) return {};
  std::vector<std::string> said = Adopt(snapshot);
  for (std::string& line : DropGone(snapshot)) said.push_back(std::move(line));
  return said;
}

std::vector<std::string> Gate::Adopt(const Snapshot& snapshot) {
  std::vector<std::string> said;
  std::vector<Grant> adopted;
  bool all_known = true;
  for (const VmState& vm : snapshot.vms) {
    if (vm.bound_only || ledger_.Find(vm.spec.id)) continue;
    if (vm.spec.guest_memory == Bytes::Max()) {
      all_known = false;  // its definition could not be read yet; its size must not be made up
      continue;
    }
    adopted.push_back({vm.spec, vm.promised, Bytes(), clock_.Now().wall});
    said.push_back(vm.spec.name +
                   " runs without having asked; its whole promise is counted as "
                   "ordinary memory");
  }
  if (adopted.empty() && ledger_.complete() == all_known) return said;
  if (const Status written = ledger_.PutAll(adopted, all_known); !written) {
    said.push_back(written.error().message());
  }
  return said;
}

std::vector<std::string> Gate::DropGone(const Snapshot& snapshot) {
  std::vector<std::string> said;
  std::map<VmId, BootTime> missing;
  for (const VmState& vm : snapshot.vms) {
    if (!vm.bound_only) continue;
    const auto since = missing_.try_emplace(vm.spec.id, snapshot.at.boot).first->second;
    if (snapshot.at.boot - since < options_.start_grace) {
      missing.emplace(vm.spec.id, since);
      continue;
    }
    const auto removed = ledger_.Remove(vm.spec.id);
    said.push_back(removed.ok() ? vm.spec.name +
                                      " was admitted and never ran, or ended unseen; "
                                      "its grant is released"
                                : removed.error().message());
  }
  missing_ = std::move(missing);
  return said;
}

}  // namespace ullage::agent
