// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ullage {

/// What an agent may do, from the least to the most.
enum class Mode {
  kObserve,  ///< measures and forecasts; changes nothing and refuses nobody
  kPublish,  ///< publishes capacity, admits VMs on it, switches hinting on
  kReclaim,  ///< also takes memory back
};

constexpr const char* Name(Mode mode) {
  switch (mode) {
    case Mode::kObserve:
      return "observe";
    case Mode::kPublish:
      return "publish";
    case Mode::kReclaim:
      return "reclaim";
  }
  return "observe";
}

}  // namespace ullage
