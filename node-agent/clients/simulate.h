// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "node-agent/simulation/cluster.h"

namespace CLI {
class App;
}

namespace ullage::clients {

/// `ullagectl simulate`, as it was typed.
struct SimulateOptions {
  std::string trace;  ///< a file; empty: the workload
  std::string workload = "mixed";
  std::vector<std::string> strategies;  ///< empty: all
  std::uint64_t nodes = 10, vms = 0, hours = 48, seed = 1;
  double memory_gib = 64, swap_gib = 0;
  double ratio_cap = 0;  ///< per cent; 0: the policy's default
  bool json = false;
};

CLI::App* AddSimulate(CLI::App& app, SimulateOptions& options);

/// Runs it and prints to standard output.
Status Simulate(const SimulateOptions& options, int columns, bool color);

using Standings = std::vector<simulation::Standing>;

/// One line a strategy; `ours` first. Density is relative to "none", absent where that did not run.
std::vector<std::string> SimulationLines(const Standings& standings, int columns, bool color);

/// One object in one line.
std::string SimulationJson(const simulation::Plot& plot, const std::string& name,
                           const Standings& standings);

}  // namespace ullage::clients
