// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/model/plan.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// Bounds of what is shown; a reason or a fault may quote foreign text.
inline constexpr std::size_t kNameLimit = 256;
inline constexpr std::size_t kTextLimit = 1024;

/// Valid UTF-8 without control characters, at most kTextLimit bytes.
std::string Text(std::string_view foreign);

/// The policy's word on the VM at `index` of the snapshot; null when the plan has none.
const VmDecision* DecisionOf(const Report& report, std::size_t index);

void FillVm(const Report& report, std::size_t index, v1::Vm& out);
void FillCapacity(const Capacity& capacity, v1::Capacity& out);

}  // namespace ullage::publishers
