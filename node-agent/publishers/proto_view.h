// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "node-agent/model/plan.h"
#include "node-agent/model/result.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// A report as the socket and the page show it: sizes in bytes, absent stays absent, every string
/// valid UTF-8 and bounded, VMs sorted by name, then UUID.
v1::Snapshot ToProto(const Report& report);
/// The same without VMs.
v1::Snapshot HeadToProto(const Report& report);
/// What is wrong right now, as it is shown.
std::vector<std::string> ConditionsOf(const Report& report);

/// The reasons why one VM counts as it does, in the order in which a person asks: what was
/// promised, what it holds, what came back, whether hinting is proven, how it counts, what to do.
/// `vm` is a name or a UUID. kNotFound: no such VM; kInvalid: several VMs have that name.
Result<v1::Explanation> Explain(const Report& report, std::string_view vm);

/// One word for a table; docs/ullagectl.md lists them. The first that holds wins: what a person
/// has to look at stands before what is merely so.
std::string_view StateWord(const VmState& vm);

}  // namespace ullage::publishers
