// SPDX-License-Identifier: Apache-2.0
// Each rival from its published formula, and nothing that it does not say. All are given what they
// may not have: guests that return what they free at once, and figures without delay.
#include <algorithm>
#include <array>
#include <cmath>

#include "node-agent/simulation/node.h"
#include "node-agent/simulation/strategy.h"

namespace ullage::simulation {
namespace {

Bytes Part(Bytes whole, std::int64_t percent) { return Bytes(whole.count() / 100 * percent); }
Bytes AtLeastNone(Bytes bytes) { return std::max(bytes, Bytes()); }
Bytes Sellable(const View& view) { return view.machine.total - view.machine.reserve; }
Bytes Used(const View& view) { return view.machine.total - view.available; }

Bytes Ordinary(const View& view) {
  Bytes sum;
  for (const Resident& vm : view.vms) {
    if (vm.reclaimed == Bytes()) sum += vm.order.limit;
  }
  return sum;
}
Bytes Lent(const View& view) {
  Bytes sum;
  for (const Resident& vm : view.vms) sum += vm.reclaimed;
  return sum;
}

class NoOvercommit final : public Strategy {
 public:
  Acts Look(const View&) override { return {}; }
  Offer Sell(const View& view) override {
    return {AtLeastNone(Sellable(view) - Ordinary(view)), Bytes()};
  }
};

// KubeVirt, developerConfiguration.memoryOvercommit: 150. A pod requests its guest's memory ÷ 1.5,
// plus the overhead whole.
class StaticRatio : public Strategy {
 public:
  Acts Look(const View&) override { return {}; }
  Offer Sell(const View& view) override { return {RoomAt(view, 150), Bytes()}; }

 protected:
  static Bytes RoomAt(const View& view, std::int64_t percent) {
    Bytes requested;
    for (const Resident& vm : view.vms) {
      requested += Bytes(vm.order.guest.count() * 100 / percent) + vm.order.limit - vm.order.guest;
    }
    return AtLeastNone(Part(Sellable(view) - requested, percent));
  }
};

// wasp-agent: the same ratio, as far as swap backs it: swap ≥ memory × (ratio − 1).
class Wasp final : public StaticRatio {
 public:
  Offer Sell(const View& view) override {
    const std::int64_t backed =
        100 + view.machine.swap.count() / (view.machine.total.count() / 100);
    return {RoomAt(view, std::min<std::int64_t>(150, backed)), Bytes()};
  }
};

// Koordinator: batch-memory = total × 65 % − max(system's use, reserve) − Σ use of what stands on
// ordinary memory; looked at every 60 s, written when it moved by 10 % or after 300 s. Batch pods
// are evicted while the node uses 70 % and more, down to 68 %.
class Koordinator final : public Strategy {
 public:
  Acts Look(const View& view) override {
    if (Used(view) > Part(view.machine.total, 70)) evicting_ = true;
    if (Used(view) <= Part(view.machine.total, 68)) evicting_ = false;
    Acts acts;
    if (!evicting_) return acts;
    for (std::size_t i = 0; i < view.vms.size(); ++i) {
      if (view.vms[i].reclaimed == Bytes()) continue;
      if (!acts.evict || view.vms[i].held > view.vms[*acts.evict].held) acts.evict = i;
    }
    return acts;
  }
  Offer Sell(const View& view) override {
    Bytes high;
    for (const Resident& vm : view.vms) {
      if (vm.reclaimed == Bytes()) high += vm.held;
    }
    const Bytes batch = AtLeastNone(Part(view.machine.total, 65) -
                                    std::max(view.machine.own, view.machine.reserve) - high);
    const Bytes moved = batch > written_ ? batch - written_ : written_ - batch;
    if (written_at_ < 0 || moved > Part(written_, 10) || view.second - written_at_ >= 300) {
      written_ = batch;
      written_at_ = view.second;
      ++writes_;
    }
    return {AtLeastNone(Sellable(view) - Ordinary(view)), AtLeastNone(written_ - Lent(view))};
  }
  std::uint64_t writes() const override { return writes_; }

 private:
  bool evicting_ = false;
  Bytes written_;
  std::int64_t written_at_ = -1;
  std::uint64_t writes_ = 0;
};

// oVirt: the scheduler's ratio of 150 % ("server load"), and MOM's balloons: below 20 % of the host
// free they take 5 % of each guest a round of 10 s, as long as the guest has 20 % free; above, they
// give back. Cold memory counts as free in a guest.
class Mom final : public StaticRatio {
 public:
  Acts Look(const View& view) override {
    Acts acts;
    const Bytes rate = balloon_a_second(view);
    acts.balloon = rate > Bytes() ? Bytes(rate.count() * 10) : Bytes(-view.machine.total.count());
    if (rate == Bytes() && view.available < Part(view.machine.total, 25)) acts.balloon = Bytes();
    return acts;
  }
  Bytes balloon_a_second(const View& view) const override {
    if (view.available >= Part(view.machine.total, 20)) return {};
    Bytes sum;
    for (const Resident& vm : view.vms) {
      const bool willing =
          vm.order.lies || vm.order.guest - vm.held + vm.cold > Part(vm.order.guest, 20);
      if (willing) sum += Part(vm.order.guest, 5);
    }
    return Bytes(sum.count() / 10);
  }
  bool has_kubelet() const override { return false; }
};

// Proxmox VE has no admission; its balloons aim at 80 % of the host in use, so whoever starts VMs
// by what the host shows stops there. 100 MiB a guest and round of 10 s.
class Proxmox final : public Strategy {
 public:
  Acts Look(const View& view) override {
    Acts acts;
    const Bytes rate = balloon_a_second(view);
    acts.balloon = rate > Bytes() ? Bytes(rate.count() * 10) : Bytes(-view.machine.total.count());
    if (rate == Bytes() && Used(view) > Part(view.machine.total, 75)) acts.balloon = Bytes();
    return acts;
  }
  Offer Sell(const View& view) override {
    return {AtLeastNone(Part(view.machine.total, 80) - Used(view)), Bytes()};
  }
  Bytes balloon_a_second(const View& view) const override {
    if (Used(view) <= Part(view.machine.total, 80)) return {};
    return Bytes(Bytes::MiB(10).count() * static_cast<std::int64_t>(view.vms.size()));
  }
  bool has_kubelet() const override { return false; }
};

// N-sigma, N = 5 (Bashir et al., "Take it to the limit", EuroSys 2021): the node's peak is taken to
// be mean + 5 σ of the sum of what its VMs used in the last 24 h; one that is younger than 2 h
// counts with L. Samples of 5 minutes.
class MeanAndSigmas final : public Strategy {
 public:
  Acts Look(const View&) override { return {}; }
  Offer Sell(const View& view) override {
    if (view.second % kEvery == 0) Sample(view);
    Bytes young;
    for (const Resident& vm : view.vms) {
      const auto one = Find(vm);
      if (one == series_.end() || one->taken < kWarm) young += vm.order.limit;
    }
    return {AtLeastNone(Sellable(view) - peak_ - young), Bytes()};
  }

 private:
  static constexpr std::int64_t kEvery = 300;
  static constexpr std::size_t kKept = 288, kWarm = 24;
  struct Series {
    std::uint64_t number;
    std::int64_t came;
    std::size_t taken;
    std::array<float, kKept> used;  // MiB; by the time of day, so that a slot is one moment in all
  };

  std::vector<Series>::iterator Find(const Resident& vm) {
    return std::find_if(series_.begin(), series_.end(), [&](const Series& one) {
      return one.number == vm.order.number && one.came == vm.came;
    });
  }

  void Sample(const View& view) {
    std::erase_if(series_, [&](const Series& one) {
      return std::none_of(view.vms.begin(), view.vms.end(), [&](const Resident& vm) {
        return vm.order.number == one.number && vm.came == one.came;
      });
    });
    const auto slot = static_cast<std::size_t>(view.second / kEvery) % kKept;
    sum_.fill(0);
    for (const Resident& vm : view.vms) {
      if (Find(vm) == series_.end()) series_.push_back({vm.order.number, vm.came, 0, {}});
      Series& one = *Find(vm);
      one.used[slot] = static_cast<float>(vm.held.mib());
      if (++one.taken >= kWarm) AddUp(one, slot);
    }
    double mean = 0;
    double square = 0;
    for (const float used : sum_) {
      mean += static_cast<double>(used);
      square += static_cast<double>(used) * static_cast<double>(used);
    }
    mean /= kKept;
    const double sigma = std::sqrt(std::max(square / kKept - mean * mean, 0.0));
    peak_ = Bytes(static_cast<std::int64_t>((mean + 5 * sigma) * 0x1p20)) + view.machine.own;
  }

  // What a VM has no sample of is what it used on average.
  void AddUp(const Series& one, std::size_t slot) {
    float mean = 0;
    const std::size_t taken = std::min(one.taken, kKept);
    for (std::size_t i = 0; i < taken; ++i) mean += one.used[(slot + kKept - i) % kKept];
    mean /= static_cast<float>(taken);
    for (std::size_t i = 0; i < kKept; ++i) {
      const bool known = (slot + kKept - i) % kKept < taken;
      sum_[i] += known ? one.used[i] : mean;
    }
  }

  Bytes peak_;  // of the VMs that are old enough
  std::vector<Series> series_;
  std::array<float, kKept> sum_{};
};

template <typename T>
std::unique_ptr<Strategy> Make() {
  return std::make_unique<T>();
}

}  // namespace

const std::vector<Rival>& Rivals() {
  static const std::vector<Rival> kRivals{
      {"none", "no overcommit", &Make<NoOvercommit>},
      {"static", "KubeVirt memoryOvercommit 150 %", &Make<StaticRatio>},
      {"wasp", "wasp-agent: 150 %, as far as swap backs it", &Make<Wasp>},
      {"koordinator", "65 % of the node less what is used", &Make<Koordinator>},
      {"mom", "oVirt 150 % and MOM's balloons", &Make<Mom>},
      {"proxmox", "80 % of the host in use, balloons", &Make<Proxmox>},
      {"sigma", "mean + 5 sigma of 24 h", &Make<MeanAndSigmas>},
  };
  return kRivals;
}

}  // namespace ullage::simulation
