// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

#include "node-agent/actuators/hint_switch.h"
#include "node-agent/model/plan.h"

namespace ullage::actuators {

/// Carries out a plan's actions; enqueues and never blocks. What it did shows in the next tick's
/// samples and nowhere else.
class Hints {
 public:
  /// `may_write`: false in mode observe and with --dry-run: says what it would do.
  Hints(HintSwitch& hint_switch, bool may_write) : switch_(hint_switch), may_write_(may_write) {}

  std::vector<Outcome> Apply(const Plan& plan, BootTime now);
  /// From the next plan on.
  void MayWrite(bool may_write) { may_write_ = may_write; }

 private:
  Outcome One(const Action& action, BootTime now);

  HintSwitch& switch_;
  bool may_write_;
  std::map<VmId, BootTime> tried_;  ///< one try a minute: a domain that refuses is not nagged
};

}  // namespace ullage::actuators
