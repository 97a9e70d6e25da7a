// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "node-agent/model/time.h"

namespace ullage::kube {

/// 64 bits of chance; injected, so that a test can say which.
using Random = std::function<std::uint64_t()>;

/// Seeded by the system, so that a thousand agents that lose the same API server come back at a
/// thousand different moments. Not for secrets; safe from any thread.
Random SystemRandom();

struct BackoffRange {
  milliseconds first{500};
  milliseconds cap{30000};
};

/// The most that the rest before try number `attempt` (0 is the first repetition) may be: doubles
/// from `first` up to `cap`.
constexpr milliseconds RestCeiling(unsigned attempt, const BackoffRange& range) {
  milliseconds ceiling = range.first;
  for (; attempt > 0 && ceiling < range.cap; --attempt) ceiling *= 2;
  return std::min(ceiling, range.cap);
}

/// Full jitter: anything from nothing to the ceiling, each as likely. What spreads best over time
/// when many wait for the same server.
constexpr milliseconds FullJitter(unsigned attempt, const BackoffRange& range,
                                  std::uint64_t random) {
  const auto ceiling = static_cast<std::uint64_t>(RestCeiling(attempt, range).count());
  return milliseconds(static_cast<milliseconds::rep>(random % (ceiling + 1)));
}

}  // namespace ullage::kube
