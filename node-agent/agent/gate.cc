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

// libvirt asks only for a VM that does not run, so what the last tick counted it with is its own
// again: a VM that stops and starts on a full host gets its place back, and nobody else does.
policy::Room Gate::RoomFor(const VmId& vm) const {
  policy::Room room = room_;
  for (const Pending& pending : pending_) {
    room.unsold -= pending.share.ordinary;
    room.additional -= pending.share.reclaimed;
  }
  if (const auto own = counted_.find(vm); own != counted_.end()) {
    room.unsold += own->second.ordinary;
    room.additional += own->second.reclaimed;
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
  const auto held = ledger_.Find(vm.id);
  if (held && SamePromise(held->spec, vm)) {
    return {true, "already admitted", held->ordinary + held->reclaimed, held->ordinary,
            held->reclaimed};
  }
  if (already_running) {
    const Bytes promised = Promised(vm, params_.overhead);
    const Bytes reclaimed = held ? held->reclaimed : Bytes();
    const Bytes ordinary = std::max(promised - reclaimed, Bytes());
    return Write(vm, {true, "it runs already", ordinary + reclaimed, ordinary, reclaimed});
  }
  if (options_.enforce) known_.wait_for(lock, options_.patience, [&] { return room_.known; });
  Verdict verdict = policy::Admit(RoomFor(vm.id), vm, params_);
  if (!verdict.admitted && options_.enforce) return verdict;
  if (!verdict.admitted) {
    verdict.admitted = true;
    verdict.ordinary = verdict.promised;
    verdict.reason = "this agent only observes; it would say: " + verdict.reason;
  }
  Verdict written = Write(vm, verdict);
  if (written.admitted || options_.enforce) return written;
  verdict.reason += "; and " + written.reason;
  return verdict;
}

Verdict Gate::Write(const VmSpec& vm, Verdict verdict) {
  const Grant grant{vm, verdict.ordinary, verdict.reclaimed, clock_.Now().wall};
  if (const Status written = ledger_.Put(grant); !written) {
    return {false, written.error().message(), verdict.promised, Bytes(), Bytes()};
  }
  pending_.push_back({++sequence_, {verdict.ordinary, verdict.reclaimed}});
  counted_.erase(vm.id);
  released_.erase(vm.id);
  missing_.erase(vm.id);
  return verdict;
}

bool Gate::Release(const VmId& vm) {
  // What it held shows as room for others at the next tick, once its memory has been seen to be
  // free.
  const std::lock_guard lock(mutex_);
  missing_.erase(vm);
  released_[vm] = clock_.Now().boot;
  const auto held = ledger_.Find(vm);
  const auto removed = ledger_.Remove(vm);
  if (held) {
    options_.say(held->spec.name +
                 (removed.ok() ? " is released" : " stays: " + removed.error().message()));
  }
  return removed.ok() && *removed;
}

std::vector<Grant> Gate::Grants() const {
  const std::lock_guard lock(mutex_);
  sampled_ = sequence_;
  return ledger_.Grants();
}

void Gate::TakeRoom(const Snapshot& snapshot, const Plan& plan) {
  const bool vms_known = snapshot.vms_listed_at || snapshot.grants_complete;
  room_.known = vms_known && snapshot.host.total && snapshot.host.available;
  // Below zero where more was promised than there is: a VM that gives its own share back and asks
  // for it again must not find a zero instead.
  room_.unsold = snapshot.host.total.value_or(Bytes()) - params_.reserve - plan.capacity.ordinary;
  room_.additional = plan.capacity.additional;
  std::erase_if(pending_, [&](const Pending& pending) { return pending.sequence <= sampled_; });
  counted_.clear();
  for (const VmState& vm : snapshot.vms) counted_[vm.spec.id] = {vm.ordinary, vm.reclaimed};
  if (room_.known) known_.notify_all();
}

std::vector<std::string> Gate::Update(const Snapshot& snapshot, const Plan& plan) {
  const std::lock_guard lock(mutex_);
  TakeRoom(snapshot, plan);
  if (!Listed(snapshot)) return {};
  std::vector<std::string> said = Adopt(snapshot);
  for (std::string& line : DropGone(snapshot)) said.push_back(std::move(line));
  std::erase_if(released_,
                [&](const auto& entry) { return entry.second < *snapshot.vms_listed_at; });
  return said;
}

std::vector<std::string> Gate::Adopt(const Snapshot& snapshot) {
  std::vector<std::string> said;
  std::vector<Grant> adopted;
  bool all_known = true;
  for (const VmState& vm : snapshot.vms) {
    if (vm.bound_only || ledger_.Find(vm.spec.id)) continue;
    const auto released = released_.find(vm.spec.id);
    if (released != released_.end() && *snapshot.vms_listed_at <= released->second) continue;
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
  const Status written = ledger_.PutAll(adopted, all_known);
  if (written) {
    trouble_.clear();
    return said;
  }
  // It is tried at each tick, and said once.
  if (written.error().message() == trouble_) return {};
  trouble_ = written.error().message();
  return {trouble_};
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
