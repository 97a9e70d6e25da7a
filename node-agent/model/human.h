// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include "node-agent/model/bytes.h"

namespace ullage {

/// A size as people read it: "0 B", "64 MiB", "1.5 GiB", "-2.0 GiB". Rounded to the nearest of the
/// last digit shown, at most 9 characters below 1,000 TiB.
inline std::string Human(Bytes size) {
  struct Unit {
    double bytes;
    const char* format;
  };
  constexpr std::array<Unit, 4> kUnits{{{0x1p40, "%s%.1f TiB"},
                                        {0x1p30, "%s%.1f GiB"},
                                        {0x1p20, "%s%.0f MiB"},
                                        {0x1p10, "%s%.0f KiB"}}};
  const char* sign = size.count() < 0 ? "-" : "";
  const double magnitude =
      size.count() < 0 ? -static_cast<double>(size.count()) : static_cast<double>(size.count());
  std::array<char, 32> text{};
  for (const Unit& unit : kUnits) {
    if (magnitude < unit.bytes) continue;
    std::snprintf(text.data(), text.size(), unit.format, sign, magnitude / unit.bytes);
    return text.data();
  }
  std::snprintf(text.data(), text.size(), "%s%.0f B", sign, magnitude);
  return text.data();
}

/// Whole MiB, for sums that people check: "1160 MiB".
inline std::string InMiB(Bytes size) { return std::to_string(size.mib()) + " MiB"; }

}  // namespace ullage
