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

/// How far it goes in mode reclaim where a node stays short.
enum class LastStep {
  kNone,     ///< no VM is asked to go
  kMigrate,  ///< VMs are migrated away, also where the policy would evict one
  kEvict,    ///< … and those on reclaimed memory are evicted
};

constexpr const char* Name(LastStep step) {
  switch (step) {
    case LastStep::kNone:
      return "none";
    case LastStep::kMigrate:
      return "migrate";
    case LastStep::kEvict:
      return "evict";
  }
  return "none";
}

}  // namespace ullage
