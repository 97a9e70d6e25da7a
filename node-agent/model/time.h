// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace ullage {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// CLOCK_BOOTTIME: counts through suspend and never jumps with the wall clock, so an interval is
/// always a real one. The epoch is the machine's boot.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};
using BootTime = BootClock::time_point;

/// What people read.
using WallTime = std::chrono::system_clock::time_point;

struct Moment {
  BootTime boot;
  WallTime wall;
};

}  // namespace ullage
