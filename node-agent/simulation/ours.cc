// SPDX-License-Identifier: Apache-2.0
// The policy that the agent runs, on a virtual clock: nothing of it is written a second time here.
#include <algorithm>
#include <array>
#include <cstdio>

#include "node-agent/model/fold.h"
#include "node-agent/policy/policy.h"
#include "node-agent/simulation/node.h"
#include "node-agent/simulation/strategy.h"

namespace ullage::simulation {
namespace {

// The rules of docs/publishing.md for the resource on the Node.
constexpr std::int64_t kIncreaseEvery = 60;
constexpr Bytes kDeadBand = Bytes::MiB(128);

// A boot time of 0 would be one that nobody ever looked at.
constexpr seconds kStart{3600};

VmId IdOf(const Resident& vm) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "vm%010llu",
                static_cast<unsigned long long>(vm.order.number));
  return {text.data()};
}

class OurPolicy final : public Ourselves {
 public:
  explicit OurPolicy(PolicyParams params) : params_(std::move(params)) {}

  Acts Look(const View& view) override {
    // At the end of a minute Sell() follows, after whoever has ended is gone.
    if (view.second % 60 != 0) Tick(view);
    return ActsOf(view);
  }

  Offer Sell(const View& view) override {
    Tick(view);
    const Capacity& capacity = plan_.capacity;
    return {capacity.unsold, std::max(written_ - capacity.granted, Bytes())};
  }

  std::uint64_t writes() const override { return writes_; }
  const Snapshot& snapshot() const override { return snapshot_; }
  const Plan& plan() const override { return plan_; }

 private:
  void Tick(const View& view) {
    const BootTime now{kStart + seconds(view.second)};
    Follow(view);
    snapshot_.at = {now, WallTime(kStart + seconds(view.second))};
    snapshot_.vms_listed_at = now;
    snapshot_.host.total = view.machine.total;
    snapshot_.host.available = snapshot_.host.free = view.available;
    snapshot_.host.swap_total = view.machine.swap;
    snapshot_.host.swap_free = view.swap_free;
    for (std::size_t i = 0; i < view.vms.size(); ++i) {
      Take(view, view.vms[i], now, snapshot_.vms[i]);
    }
    plan_ = policy_.Decide(snapshot_, params_);
    snapshot_ = Remember(std::move(snapshot_), plan_);
    Publish(view.second);
  }

  // What Fold() makes of samples, for VMs that all answer: their states are moved, not made anew,
  // because a run takes some ten million ticks.
  void Follow(const View& view) {
    const bool same = std::equal(view.vms.begin(), view.vms.end(), known_.begin(), known_.end(),
                                 [](const Resident& vm, const Known& one) {
                                   return vm.order.number == one.number && vm.came == one.came;
                                 });
    if (same) return;
    std::vector<Known> known;
    std::vector<VmState> states;
    for (const Resident& vm : view.vms) {
      known.push_back({vm.order.number, vm.came});
      const auto old = std::find_if(known_.begin(), known_.end(), [&](const Known& one) {
        return one.number == vm.order.number && one.came == vm.came;
      });
      states.push_back(
          old == known_.end()
              ? Fresh(vm)
              : std::move(snapshot_.vms[static_cast<std::size_t>(old - known_.begin())]));
    }
    known_ = std::move(known);
    snapshot_.vms = std::move(states);
  }

  static VmState Fresh(const Resident& vm) {
    VmState state;
    state.spec.id = IdOf(vm);
    state.spec.guest_memory = vm.order.guest;
    const bool lent = vm.reclaimed > Bytes();
    state.spec.placement = lent ? Placement::kReclaimed : Placement::kStandard;
    state.spec.reclaim = Reclaim::kHybrid;
    state.promised = lent ? vm.reclaimed : vm.order.limit;
    state.ordinary = state.promised - vm.reclaimed;
    state.reclaimed = vm.reclaimed;
    state.hinting = Hinting::kOn;
    state.run = Run::kRunning;
    state.epoch = 1;
    state.cgroup = vm.order.number + 1;
    state.watched_since = BootTime(kStart + seconds(vm.came * 60));
    return state;
  }

  static void Take(const View& view, const Resident& vm, BootTime now, VmState& state) {
    Bytes out;
    if (view.out > Bytes()) {
      const double share =
          static_cast<double>(vm.cold.count()) / static_cast<double>(view.cold.count());
      out = Bytes(static_cast<std::int64_t>(share * static_cast<double>(view.out.count())));
    }
    state.resident = vm.held - out;
    state.swapped = out;
    state.peak = std::max(state.peak.value_or(Bytes()), std::max(vm.held, vm.need.middle));
    state.kernel_peak = state.peak;
    state.answered_at = now;
    state.working_set.cold = vm.cold - out;
    state.working_set.seen_at = now;
    // What a guest says of itself; whoever lies says that nearly all is free.
    const Bytes free = vm.order.lies ? Bytes(vm.order.guest.count() / 20 * 19)
                                     : std::max(vm.order.guest - vm.held, Bytes());
    state.guest.unused = state.guest.usable = free;
  }

  void Publish(std::int64_t second) {
    const Bytes wanted = plan_.capacity.published;
    if (wanted == written_) return;
    if (wanted > written_) {
      const bool due = written_at_ < 0 || second - written_at_ >= kIncreaseEvery;
      if (!due || wanted - written_ < kDeadBand) return;
      written_at_ = second;
    }
    written_ = wanted;
    ++writes_;
  }

  Acts ActsOf(const View& view) const {
    Acts acts;
    for (const Action& action : plan_.actions) {
      const auto vm = std::find_if(view.vms.begin(), view.vms.end(),
                                   [&](const Resident& one) { return IdOf(one) == action.id; });
      if (vm == view.vms.end()) continue;
      const auto index = static_cast<std::size_t>(vm - view.vms.begin());
      if (action.kind == Action::Kind::kPageOut) acts.push += action.amount;
      if (action.kind == Action::Kind::kMigrate) acts.migrate = index;
      if (action.kind == Action::Kind::kEvict) acts.evict = index;
    }
    return acts;
  }

  struct Known {
    std::uint64_t number;
    std::int64_t came;
  };

  const PolicyParams params_;
  policy::Policy policy_;
  Snapshot snapshot_;
  Plan plan_;
  std::vector<Known> known_;  // of snapshot_.vms
  Bytes written_;
  std::int64_t written_at_ = -1;  // the last increase
  std::uint64_t writes_ = 0;
};

}  // namespace

std::unique_ptr<Ourselves> Ours(const PolicyParams& params) {
  return std::make_unique<OurPolicy>(params);
}

}  // namespace ullage::simulation
