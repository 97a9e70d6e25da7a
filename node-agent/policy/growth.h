// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage::policy {

/// The horizon is cut into this many slots: how finely a VM's highest charge is kept.
inline constexpr std::size_t kSlots = 20;

/// Each bucket's upper edge, a share of L: a tenth of a percent, then 15 % wider each, up to all.
inline constexpr std::size_t kBuckets = 49;
inline constexpr auto kEdges = [] {
  std::array<std::int64_t, kBuckets> edges{};
  std::int64_t edge = 10;
  for (std::int64_t& at : edges) {
    at = edge < 10000 ? edge : 10000;
    edge = (edge * 115 + 99) / 100;
  }
  return edges;
}();
static_assert(kEdges[kBuckets - 2] < 10000 && kEdges[kBuckets - 1] == 10000);

/// How often a VM grew by how much, older growth weighing less (Autopilot, EuroSys 2020, section
/// 3.2: a decayed histogram, and a percentile of it).
class GrowthHistogram {
 public:
  using Weights = std::array<float, kBuckets>;

  /// One window more; what was there keeps `keep` (0 to 1) of its weight.
  void Add(Permyriad share, float keep);

  /// The upper edge of the bucket below which 99 % of the weight lie; nothing without any weight.
  Permyriad P99() const { return p99_; }

  const Weights& weights() const { return weights_; }
  /// Each weight is finite and not negative.
  void Set(const Weights& weights);

 private:
  void Judge();

  Weights weights_{};
  Permyriad p99_{};
};

/// What the host saw of one VM in one slot.
struct GrowthSlot {
  Bytes resident;       ///< at its first tick
  Bytes held;           ///< the same with what is in swap
  Bytes most_resident;  ///< the highest of each within it
  Bytes most_held;
  Bytes promised;  ///< g as it was decided at its first tick
};

/// The last horizon of one VM, slot by slot. The caller keeps the slots' clock.
class GrowthWindow {
 public:
  void Clear() { *this = {}; }
  /// Within the slot `number`: the VM holds this much.
  void Observe(std::uint64_t number, Bytes resident, Bytes held, Bytes most_resident);
  /// The slot's g, if `Observe` has just begun it.
  void Promise(std::uint64_t number, Bytes growth);
  /// The slot that ran is over. True when a whole horizon was seen without a gap.
  bool Close();
  /// No tick fell into the slot `number`: it held what it held last.
  void Fill(std::uint64_t number);

  /// Of a whole horizon that ends with the slot `last`: how far the charge rose above its first
  /// value, or what it holds in all did, whichever is more. The first catches what comes back from
  /// swap, the second what the host swaps out meanwhile.
  Bytes Rise(std::uint64_t last) const;
  /// What R fell by from the first to the last tick of the slot that has just ended.
  Bytes Fall() const { return begun_ - last_resident_; }
  bool fed() const { return fed_; }
  const GrowthSlot& At(std::uint64_t number) const { return slots_[number % kSlots]; }

 private:
  std::array<GrowthSlot, kSlots> slots_{};
  Bytes begun_, last_resident_, last_held_;
  std::size_t whole_ = 0;  // slots without a gap, at most kSlots
  bool fed_ = false;       // something was seen in the slot that runs
  bool fresh_ = false;     // it began with the last Observe
};

}  // namespace ullage::policy
