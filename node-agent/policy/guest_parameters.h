// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"

namespace ullage::policy {

/// Adds to `plan` what is to be set in the guests' drivers, and what is to be put back. A value is
/// written once for each load of a driver: whoever changes it in the guest afterwards keeps it.
void DecideGuestParameters(const Snapshot& snapshot, const PolicyParams& params, Plan& plan);

}  // namespace ullage::policy
