// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"
#include "node-agent/policy/histories.h"

namespace ullage::policy {

/// The whole policy, and all that it remembers. Reads no clock and no file: in the agent and in a
/// simulation the same object decides. One thread at a time.
class Policy {
 public:
  /// Once a tick, with snapshots of one node in the order of their time.
  Plan Decide(const Snapshot& snapshot, const PolicyParams& params);

  Histories& histories() { return histories_; }
  const Histories& histories() const { return histories_; }

 private:
  Histories histories_;
};

}  // namespace ullage::policy
