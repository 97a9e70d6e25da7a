// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage::policy {

/// What the VMs of a node did together. Shares of what those VMs can hold at most, so that it stays
/// true of others when some leave and others come.
struct Together {
  seconds observed{};  ///< for how long they were watched
  Permyriad rise{};    ///< the most that their sum rose by within a horizon, and a margin
  Permyriad high{};    ///< the most that they held at once
};

/// The highest of each of the last 25 hours, the one that runs included: what the sum did at this
/// time yesterday it may do again.
class TogetherHistory {
 public:
  struct Hour {
    std::uint64_t number = 0;  ///< since the boot
    Permyriad rise{}, high{};
  };
  static constexpr std::size_t kHours = 25;
  using Hours = std::array<Hour, kHours>;

  /// A slot of `length` that ended at `at`: with it ends a horizon in which the sum rose by `rise`,
  /// and in the slot it was at most `high`.
  void Add(BootTime at, seconds length, Permyriad rise, Permyriad high);
  Together Seen() const;

  const Hours& hours() const { return hours_; }
  seconds observed() const { return observed_; }
  void Set(const Hours& hours, seconds observed);

 private:
  Hours hours_{};
  seconds observed_{};
};

}  // namespace ullage::policy
