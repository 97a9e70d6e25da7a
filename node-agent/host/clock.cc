// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/clock.h"

#include <ctime>

namespace ullage::host {

Moment SystemClock::Now() const {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);  // cannot fail: the clock exists since Linux 2.6.39
  const auto since_boot = std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  return {BootTime(since_boot), std::chrono::system_clock::now()};
}

}  // namespace ullage::host
