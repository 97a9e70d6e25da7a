// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/model/bytes.h"
#include "node-agent/model/result.h"

namespace ullage::simulation {

/// What one VM held at one time of a trace.
struct TracePoint {
  std::int64_t second = 0;
  Bytes resident;
  Bytes cold;  ///< of it, not touched for ten minutes and more
};

struct TraceSeries {
  std::string vm;
  Bytes limit;                     ///< L: the largest that any of its lines says
  std::vector<TracePoint> points;  ///< at least one; times rise

  /// At the start of `minute`: on the straight line between two points. After the last point it
  /// begins anew; before the first it is the first.
  TracePoint At(std::int64_t minute) const;
};

/// Bounds of what a trace may be: more is refused.
inline constexpr std::size_t kMostTraceBytes = std::size_t{512} << 20;
inline constexpr std::size_t kMostTraceLines = 20'000'000;
inline constexpr std::size_t kMostTraceVms = 100'000;

/// A trace as CSV: the line `time,vm,resident,cold,limit` first, then one line for each moment of
/// each VM, in any order of VMs; each VM's times rise. `time`: whole seconds from any origin, at
/// most a year after the trace's first; `vm`: 1 to 63 of A-Z a-z 0-9 . _ / -; the others: whole
/// bytes, resident ≤ limit ≤ 1 PiB, cold ≤ resident (empty: 0). Empty lines and lines that begin
/// with # are skipped. An error names the line. Series come in the order in which their VMs first
/// appear, with times counted from the trace's first.
Result<std::vector<TraceSeries>> ParseTrace(std::string_view text);

}  // namespace ullage::simulation
