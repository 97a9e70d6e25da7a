// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <string>

#include "node-agent/model/time.h"

namespace ullage::publishers {

/// As Kubernetes writes a metav1.Time: "2026-11-21T08:32:24Z".
inline std::string Rfc3339(WallTime when) {
  const std::time_t whole = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), size};
}

/// The last moment that is read from anywhere: the year 2200. A clock in nanoseconds ends in 2262.
inline constexpr std::int64_t kLastMoment = 7258118400;

/// A moment of a file or a request, which may say anything.
inline WallTime WallTimeOf(std::int64_t unix_ms) {
  return WallTime(milliseconds(std::clamp<std::int64_t>(unix_ms, 0, kLastMoment * 1000)));
}

}  // namespace ullage::publishers
