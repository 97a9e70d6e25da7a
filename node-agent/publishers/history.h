// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "node-agent/model/plan.h"
#include "node-agent/publishers/segment_log.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// A month of minutes is less than 3 MiB.
inline SegmentOptions HistorySegments(std::string folder) {
  return {std::move(folder), "history", std::size_t{128} << 10, std::size_t{3} << 20};
}
inline constexpr seconds kDefaultHorizon{600};
inline constexpr seconds kMostHorizon{24 * 3600};

/// Gathers ticks into minutes. Pure but for its state.
class MinuteBook {
 public:
  /// The minute that ended with this report, if one did.
  std::optional<v1::HistoryMinute> Add(const Report& report);

 private:
  std::optional<v1::HistoryMinute> open_;
};

/// How much could have been promised, and whether it would have held: what was promised at the end
/// of a minute is held against the least that was left within the horizon after it. What was
/// granted meanwhile came out of the promise. Pure; `minutes` in the order in which they were
/// written.
v1::History Audit(const std::vector<v1::HistoryMinute>& minutes, seconds horizon);

/// What stands in the files, read as if a stranger had written it.
std::vector<v1::HistoryMinute> ReadMinutes(const SegmentOptions& options);

}  // namespace ullage::publishers
