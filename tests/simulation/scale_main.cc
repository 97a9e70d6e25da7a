// SPDX-License-Identifier: Apache-2.0
// What tests/bench/scale.py runs: scale_sim NODES SEED WORKLOAD TICK_MS HOURS; one JSON object.
#include <cstdio>
#include <string>

#include "node-agent/host/text.h"
#include "tests/simulation/scale.h"

namespace {

using ullage::simulation::Load;

void Series(const char* name, const std::vector<Load>& loads, std::uint64_t (*of)(const Load&)) {
  std::printf(",\"%s\":[", name);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    std::printf("%s%llu", i > 0 ? "," : "", static_cast<unsigned long long>(of(loads[i])));
  }
  std::printf("]");
}

}  // namespace

int main(int argc, char** argv) {
  ullage::simulation::ScalePlot plot;
  const auto number = [&](int at) {
    return ullage::host::ParseUnsigned(at < argc ? argv[at] : "").value_or(0);
  };
  const auto workload = ullage::simulation::WorkloadNamed(argc > 3 ? argv[3] : "");
  if (argc != 6 || number(1) < 1 || number(1) > 6000 || number(4) < 100 || number(5) > 1000 ||
      !workload) {
    std::fprintf(stderr, "scale_sim NODES SEED WORKLOAD TICK_MS HOURS\n");
    return 2;
  }
  plot.nodes = number(1);
  plot.seed = number(2);
  plot.workload = *workload;
  plot.tick = ullage::milliseconds(number(4));
  plot.history = std::chrono::hours(number(5));
  const auto result = ullage::simulation::RunScale(plot);
  std::printf(
      "{\"nodes\":%zu,\"vms\":%.2f,\"published\":%zu,\"watches\":%zu,\"most_reclaim\":%zu,"
      "\"rest_from\":%zu,\"left\":%zu,\"returned\":%zu",
      plot.nodes, result.vms, result.published, result.watches, result.most_reclaim,
      result.rest_from, result.left, result.returned);
  Series("begun", result.loads, [](const Load& load) { return std::uint64_t{load.watches}; });
  Series("lists", result.loads, [](const Load& load) { return std::uint64_t{load.lists}; });
  Series("etcd_lists", result.loads,
         [](const Load& load) { return std::uint64_t{load.etcd_lists}; });
  Series("node_writes", result.loads, [](const Load& load) { return std::uint64_t{load.nodes}; });
  Series("reclaim_writes", result.loads,
         [](const Load& load) { return std::uint64_t{load.reclaims}; });
  Series("event_writes", result.loads, [](const Load& load) { return std::uint64_t{load.events}; });
  Series("listed", result.loads, [](const Load& load) { return load.listed; });
  Series("written", result.loads, [](const Load& load) { return load.written; });
  Series("lines", result.loads, [](const Load& load) { return std::uint64_t{load.watch_lines}; });
  std::printf("}\n");
  return 0;
}
