// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/policy.h"

#include "node-agent/policy/capacity.h"
#include "node-agent/policy/guest_parameters.h"
#include "node-agent/policy/hybrid.h"

namespace ullage::policy {

Plan Policy::Decide(const Snapshot& snapshot, const PolicyParams& params) {
  Plan plan = policy::Decide(snapshot, params, histories_.Observe(snapshot, params));
  histories_.Promise(plan);
  DecideGuestParameters(snapshot, params, plan);
  DecideHybrid(snapshot, params, plan);
  return plan;
}

}  // namespace ullage::policy
