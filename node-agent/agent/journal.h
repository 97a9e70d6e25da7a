// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "node-agent/model/plan.h"

namespace ullage::agent {

/// A line of the log.
struct Entry {
  enum class Level { kInfo, kWarning } level;
  std::string text;
};

/// What changed from one report to the next, for the log: nothing is logged twice because it
/// lasts, and no fault begins or ends in silence. Pure.
std::vector<Entry> Changes(const Report& before, const Report& now);

}  // namespace ullage::agent
