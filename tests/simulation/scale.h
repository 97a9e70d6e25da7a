// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "node-agent/simulation/demand.h"
#include "tests/simulation/api_server.h"

namespace ullage::simulation {

/// A cluster whose agents are looked at from its API server.
struct ScalePlot {
  std::size_t nodes = 5000;
  Workload workload = Workload::kMixed;
  std::uint64_t seed = 1;
  seconds history{3 * 3600};  ///< that the nodes' VMs have behind them when the agents start
  milliseconds tick{1000};
  seconds settle{300};  ///< from the start of the agents, over a minute, to the time at rest
  seconds rest{300};    ///< … which is measured
  seconds away{60};     ///< for so long there is no API server then
  seconds after{180};
};

struct ScaleResult {
  std::vector<Load> loads;  ///< by the second, from the start of the agents
  std::size_t rest_from = 0, left = 0, returned = 0;  ///< seconds
  std::size_t watches = 0;                            ///< held at rest
  std::size_t most_reclaim = 0;                       ///< bytes, the largest write of a NodeReclaim
  double vms = 0;                                     ///< a node
  std::size_t published = 0;                          ///< nodes that publish something at rest
};

/// The agents' own code but for what reads the host and QEMU: the watch loops and what they keep,
/// the policy, and the writers; each blocks as it does in an agent, on a virtual clock. Guests,
/// kubelets and the scheduler, which binds VMs to what is published, are simulated.
ScaleResult RunScale(const ScalePlot& plot);

}  // namespace ullage::simulation
