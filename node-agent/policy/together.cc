// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/together.h"

#include <algorithm>

namespace ullage::policy {
namespace {

constexpr Permyriad kMargin{11500};  // on the rise that was seen: the next may be a little more

}  // namespace

void TogetherHistory::Add(BootTime at, seconds length, Permyriad rise, Permyriad high) {
  const auto since_boot = std::chrono::duration_cast<std::chrono::hours>(at.time_since_epoch());
  const auto number = static_cast<std::uint64_t>(std::max<std::int64_t>(since_boot.count(), 0));
  // Hours in which nobody ran leave what was there before them.
  Hour& hour = hours_[number % kHours];
  if (hour.number != number) hour = {number, {}, {}};
  hour.rise = std::max(hour.rise, rise);
  hour.high = std::max(hour.high, high);
  observed_ += length;
}

Together TogetherHistory::Seen() const {
  Together seen{observed_, {}, {}};
  for (const Hour& hour : hours_) {
    seen.rise = std::max(seen.rise, hour.rise);
    seen.high = std::max(seen.high, hour.high);
  }
  seen.rise.value = seen.rise.value * kMargin.value / 10000;
  return seen;
}

void TogetherHistory::Set(const Hours& hours, seconds observed) {
  hours_ = hours;
  observed_ = observed;
}

}  // namespace ullage::policy
