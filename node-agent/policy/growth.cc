// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/growth.h"

#include <algorithm>

namespace ullage::policy {

void GrowthHistogram::Add(Permyriad share, float keep) {
  const auto* const at = std::lower_bound(kEdges.begin(), kEdges.end(), share.value);
  const auto bucket =
      std::min<std::size_t>(static_cast<std::size_t>(at - kEdges.begin()), kBuckets - 1);
  for (float& weight : weights_) weight *= keep;
  weights_[bucket] += 1;
  Judge();
}

void GrowthHistogram::Set(const Weights& weights) {
  weights_ = weights;
  Judge();
}

void GrowthHistogram::Judge() {
  double all = 0;
  for (const float weight : weights_) all += static_cast<double>(weight);
  p99_ = {};
  double above = 0;
  for (std::size_t i = kBuckets; i-- > 0 && all > 0;) {
    above += static_cast<double>(weights_[i]);
    if (above <= all * 0.01) continue;
    // Who never grew by a tenth of a percent did not grow.
    p99_ = Permyriad{kEdges[i]};
    return;
  }
}

void GrowthWindow::Observe(std::uint64_t number, Bytes resident, Bytes held, Bytes most_resident) {
  GrowthSlot& slot = slots_[number % kSlots];
  fresh_ = !fed_;
  if (fresh_) {
    slot = {resident, held, resident, held, Bytes()};
    begun_ = resident;
  }
  fed_ = true;
  slot.most_resident = std::max({slot.most_resident, resident, most_resident});
  slot.most_held = std::max(slot.most_held, held);
  last_resident_ = resident;
  last_held_ = held;
}

void GrowthWindow::Promise(std::uint64_t number, Bytes growth) {
  if (fresh_) slots_[number % kSlots].promised = growth;
  fresh_ = false;
}

bool GrowthWindow::Close() {
  whole_ = fed_ ? std::min(whole_ + 1, kSlots) : 0;
  fed_ = false;
  return whole_ == kSlots;
}

void GrowthWindow::Fill(std::uint64_t number) {
  if (whole_ == 0) return;
  const Bytes promised = At(number + kSlots - 1).promised;
  slots_[number % kSlots] = {last_resident_, last_held_, last_resident_, last_held_, promised};
  begun_ = last_resident_;
  fed_ = true;
}

Bytes GrowthWindow::Rise(std::uint64_t last) const {
  const GrowthSlot& first = At(last + 1);
  Bytes resident, held;
  for (const GrowthSlot& slot : slots_) {
    resident = std::max(resident, slot.most_resident);
    held = std::max(held, slot.most_held);
  }
  return std::max(resident - first.resident, held - first.held);
}

}  // namespace ullage::policy
