// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/histories.h"

#include <algorithm>
#include <cmath>

namespace ullage::policy {
namespace {

constexpr seconds kHalfLife{86400};        // of what was seen of a VM's growth
constexpr seconds kWidthHalfLife{604800};  // of what B was widened by
constexpr seconds kAbsence{86400};         // a VM that is gone for longer is forgotten
constexpr Permyriad kMargin{11500};        // on what was seen: the next may be a little more
constexpr double kWidthMargin = 1.15;
constexpr double kWidest = 3;         // beyond B itself
constexpr Permyriad kRateKept{9942};  // a slot: half of a measured rate is left in an hour
constexpr Permyriad kNearlyAll{8750};
constexpr std::uint64_t kBrokenIn = 10000;  // one window in so many may break
// Slots in which nothing was looked at are taken as the last one was, up to half a horizon.
constexpr std::uint64_t kMostFilled = kSlots / 2;

Permyriad ShareOf(Bytes part, Bytes whole) {
  if (part <= Bytes()) return {};
  if (whole <= part) return Permyriad{10000};
  const auto count = static_cast<Wide>(part.count()) * 10000 + whole.count() - 1;
  return Permyriad{static_cast<std::int64_t>(count / whole.count())};
}

}  // namespace

const Forecast& Histories::Observe(const Snapshot& snapshot, const PolicyParams& params) {
  // An agent that starts does not know yet which ReclaimPolicy is in force, and with it the
  // horizon: what the one before it left is not thrown away for that.
  const bool unknown = snapshot.node && !snapshot.node->heard_at && horizon_ > seconds(0);
  const seconds horizon = unknown ? horizon_ : std::max(params.horizon, seconds(kSlots));
  if (horizon != horizon_) {
    // What a VM grows by in another time says nothing of this one.
    vms_.clear();
    together_ = {};
    horizon_ = horizon;
  }
  slot_length_ = milliseconds(horizon_) / kSlots;
  keep_ = std::exp2(-static_cast<float>(slot_length_.count()) /
                    static_cast<float>(milliseconds(kHalfLife).count()));
  const auto since_boot =
      std::chrono::duration_cast<milliseconds>(snapshot.at.boot.time_since_epoch());
  Turn(static_cast<std::uint64_t>(std::max<std::int64_t>(0, since_boot / slot_length_)));

  present_.assign(snapshot.vms.size(), nullptr);
  forecast_.vms.assign(snapshot.vms.size(), Outlook{});
  auto hint = vms_.begin();
  for (std::size_t i = 0; i < snapshot.vms.size(); ++i) {
    const VmState& vm = snapshot.vms[i];
    if (!vm.resident || vm.bound_only) continue;
    VmHistory& history = Find(vm, hint);
    See(vm, snapshot, history);
    present_[i] = &history;
    Outlook& outlook = forecast_.vms[i];
    outlook.observed = history.observed;
    outlook.growth = Permyriad{history.growth.P99().value * kMargin.value / 10000};
    outlook.reclaimed =
        history.reclaimed_a_slot * Permyriad{static_cast<std::int64_t>(kSlots) * 10000};
  }
  forecast_.together = together_.Seen();
  forecast_.audit = audit_;
  if (vms_.size() > snapshot.vms.size()) ForgetTheAbsent(snapshot.at.boot);
  return forecast_;
}

void Histories::Turn(std::uint64_t slot) {
  fresh_ = slot != slot_;
  if (!fresh_) return;
  if (slot < slot_ || slot - slot_ > kMostFilled) {
    for (auto& [id, history] : vms_) history.window.Clear();
    slot_ = slot;
    return;
  }
  while (slot_ < slot) {
    Close(slot_);
    ++slot_;
    if (slot_ == slot) break;
    buffers_[slot_ % kSlots] = buffers_[(slot_ + kSlots - 1) % kSlots];
    for (auto& [id, history] : vms_) history.window.Fill(slot_);
  }
}

void Histories::Close(std::uint64_t slot) {
  const auto length = std::chrono::duration_cast<seconds>(slot_length_);
  std::array<Bytes, kSlots> resident{}, held{};
  Bytes resident_then, held_then, growth, ceiling;
  bool any = false;
  for (auto& [id, history] : vms_) {
    GrowthWindow& window = history.window;
    if (window.fed()) history.observed += length;
    if (window.fed() && history.taken) {
      history.reclaimed_a_slot = std::max(history.reclaimed_a_slot, window.Fall());
    }
    history.taken = false;
    if (!window.Close()) continue;
    history.reclaimed_a_slot = history.reclaimed_a_slot * kRateKept;
    history.growth.Add(ShareOf(window.Rise(slot), history.ceiling), keep_);
    any = true;
    const GrowthSlot& first = window.At(slot + 1);
    resident_then += first.resident;
    held_then += first.held;
    growth += first.promised;
    ceiling += history.ceiling;
    for (std::size_t i = 0; i < kSlots; ++i) {
      resident[i] += window.At(i).most_resident;
      held[i] += window.At(i).most_held;
    }
  }
  if (!any) return;
  const Bytes rose = std::max(*std::max_element(resident.begin(), resident.end()) - resident_then,
                              *std::max_element(held.begin(), held.end()) - held_then);
  together_.Add(BootTime(slot_length_ * static_cast<std::int64_t>(slot + 1)), length,
                ShareOf(rose, ceiling), ShareOf(held[slot % kSlots], ceiling));
  Judge(rose, growth, buffers_[(slot + 1) % kSlots]);
}

// A window is broken when those who were there throughout rose by more than was kept for them.
void Histories::Judge(Bytes rose, Bytes growth, Bytes buffer) {
  ++audit_.windows;
  const double shrinks = std::exp2(-static_cast<double>(slot_length_.count()) /
                                   static_cast<double>(milliseconds(kWidthHalfLife).count()));
  audit_.width *= shrinks;
  if (rose <= growth + buffer) return;
  ++audit_.broken;
  if (audit_.broken * kBrokenIn <= audit_.windows || buffer <= Bytes()) return;
  // As wide as it had to be, and a margin: what comes once a day finds it wide enough tomorrow.
  const double wanted = static_cast<double>((rose - growth).count()) /
                        static_cast<double>(buffer.count()) * (1 + audit_.width) * kWidthMargin;
  audit_.width = std::min(std::max(audit_.width, wanted - 1), kWidest);
}

VmHistory& Histories::Find(const VmState& vm, Vms::iterator& hint) {
  if (hint == vms_.end() || hint->first != vm.spec.id) {
    hint = vms_.try_emplace(vm.spec.id).first;
  }
  VmHistory& history = hint->second;
  ++hint;
  return history;
}

void Histories::See(const VmState& vm, const Snapshot& snapshot, VmHistory& history) {
  const Bytes resident = std::max(*vm.resident, Bytes());
  const Bytes held = resident + std::max(vm.swapped.value_or(Bytes()), Bytes());
  if (history.cgroup != vm.cgroup) {
    // A VMI keeps its UID when it migrates and gets another when it restarts; a libvirt domain
    // keeps its UUID when it restarts.
    const bool same_guest = snapshot.node && history.cgroup != 0;
    if (!same_guest) history = {};
    history.window.Clear();
    history.peak = vm.kernel_peak.value_or(resident);
  } else if (history.restored) {
    // A reboot that nobody saw shows by what it no longer holds.
    if (held < history.held * kNearlyAll) history = {};
    history.peak = vm.kernel_peak.value_or(resident);
  } else if (history.epoch != vm.epoch) {
    history = {};
    history.peak = vm.kernel_peak.value_or(resident);
  }
  history.restored = false;
  history.cgroup = vm.cgroup;
  history.epoch = vm.epoch;
  history.ceiling = CeilingOf(vm);
  history.held = held;
  history.seen_at = snapshot.at.boot;
  // The cgroup's own mark tells of what rose and fell between two ticks.
  Bytes most = resident;
  if (vm.kernel_peak && *vm.kernel_peak > history.peak) {
    most = std::max(most, *vm.kernel_peak);
    history.peak = *vm.kernel_peak;
  }
  history.window.Observe(slot_, resident, held, most);
  const auto slot_ago = snapshot.at.boot - slot_length_;
  const auto asked = [&](const std::optional<BootTime>& at) { return at && *at >= slot_ago; };
  if (asked(vm.hybrid.stepped_at) || asked(vm.hybrid.paged_at) || asked(vm.hybrid.limited_at)) {
    history.taken = true;
  }
}

// Whoever was away for a day is forgotten; and whoever longest, where there are too many.
void Histories::ForgetTheAbsent(BootTime now) {
  std::erase_if(vms_, [&](const auto& vm) { return now - vm.second.seen_at > kAbsence; });
  while (vms_.size() > kMostVms) {
    const auto oldest = std::min_element(vms_.begin(), vms_.end(), [](auto& a, auto& b) {
      return a.second.seen_at < b.second.seen_at;
    });
    if (oldest->second.seen_at == now) return;
    vms_.erase(oldest);
  }
}

void Histories::Promise(const Plan& plan) {
  if (fresh_) {
    buffers_[slot_ % kSlots] = plan.capacity.terms ? plan.capacity.terms->buffer : Bytes();
  }
  for (std::size_t i = 0; i < present_.size() && i < plan.vms.size(); ++i) {
    if (present_[i] != nullptr) present_[i]->window.Promise(slot_, plan.vms[i].growth);
  }
}

void Histories::Restore(Vms vms, const TogetherHistory& together, const PromiseAudit& audit,
                        seconds horizon) {
  vms_ = std::move(vms);
  for (auto& [id, history] : vms_) history.restored = true;
  together_ = together;
  audit_ = audit;
  horizon_ = horizon;
}

}  // namespace ullage::policy
