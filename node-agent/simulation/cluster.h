// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "node-agent/model/result.h"
#include "node-agent/simulation/demand.h"
#include "node-agent/simulation/node.h"
#include "node-agent/simulation/strategy.h"

namespace ullage::simulation {

/// A run: everything that decides what comes of it.
struct Plot {
  Workload workload = Workload::kMixed;
  const std::vector<TraceSeries>* trace = nullptr;  ///< instead of the workload
  std::size_t nodes = 10;
  std::size_t vms = 0;  ///< that want to run at any time; 0: twice of what fits without overcommit
  std::int64_t hours = 48;
  std::uint64_t seed = 1;
  Machine machine;
  PolicyParams params;
};

/// What a plot may be: more is refused.
inline constexpr std::size_t kMostNodes = 10'000;
inline constexpr std::size_t kMostVms = 1'000'000;
inline constexpr std::int64_t kMostHours = 8784;
Status Check(const Plot& plot);

/// One strategy on a cluster of nodes. VMs want to run in a queue, first come, first served: the
/// first is bound to the node with the most room, on ordinary memory if that is enough, else whole
/// on reclaimed memory; while it finds no room nobody overtakes it, so that small VMs gain nothing.
/// Each lives for 6 to 30 hours; for one that ends another joins the queue, and one that lost its
/// place for want of memory joins it again. The first quarter of the time, at most 24 hours, fills
/// the cluster, and density does not count it; all else counts from the first minute.
Tally Run(const Plot& plot, const std::function<std::unique_ptr<Strategy>()>& strategy);

inline constexpr const char* kOurs = "ullage";

/// One strategy's line in a report.
struct Standing {
  std::string name;
  std::string rule;
  Tally tally;
};

/// Ours and every rival (or those that are named), in that order, on the same VMs. An error: a name
/// that nobody has.
Result<std::vector<Standing>> Compare(const Plot& plot, const std::vector<std::string>& names);

}  // namespace ullage::simulation
