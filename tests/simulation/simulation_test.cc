// SPDX-License-Identifier: Apache-2.0
// Ten thousand node-hours of the agent's own policy, without swap and with it, beside its rivals.
// Not part of ctest: ./test simulation runs it. A seed is one run on every machine, so what passes
// once passes always, until somebody changes the policy or the simulation.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "node-agent/simulation/cluster.h"

namespace ullage::simulation {
namespace {

constexpr std::int64_t kHours = 56;
constexpr std::size_t kNodes = 5;
constexpr std::uint64_t kSeeds = 3;  // each a cluster of another level

using Sums = std::map<std::string, Tally>;

// All workloads and seeds with so much swap: 6 × 3 × 5 × 56 = 5,040 node-hours for each.
const Sums& With(Bytes swap) {
  static std::map<std::int64_t, Sums> known;
  const auto [at, fresh] = known.try_emplace(swap.count());
  if (!fresh) return at->second;
  for (const Workload workload : kWorkloads) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      Plot plot;
      plot.workload = workload;
      plot.nodes = kNodes;
      plot.hours = kHours;
      plot.seed = seed;
      plot.machine.swap = swap;
      const auto standings = Compare(plot, {});
      if (!standings) {
        ADD_FAILURE() << standings.error().message();
        continue;
      }
      for (const Standing& standing : *standings) Add(at->second[standing.name], standing.tally);
    }
  }
  return at->second;
}

double Broken(const Tally& tally) {
  return static_cast<double>(tally.broken) / static_cast<double>(tally.windows);
}
double Vms(const Tally& tally) { return tally.vm_hours / tally.counted_hours; }

class SimulationTest : public testing::TestWithParam<std::int64_t> {
 protected:
  const Sums& sums() const { return With(Bytes::GiB(GetParam())); }
  const Tally& Of(const char* name) const { return sums().at(name); }
};

TEST_P(SimulationTest, FiveThousandNodeHoursOfTwentyVmsAndMore) {
  for (const auto& [name, tally] : sums()) {
    EXPECT_GE(tally.node_hours, 5000) << name;
    EXPECT_GE(tally.windows, 5000u * 59) << name;
    EXPECT_GE(Vms(tally), 20) << name;
  }
  EXPECT_EQ(sums().size(), Rivals().size() + 1);
}

TEST_P(SimulationTest, OursHoldsItsPromise) {
  EXPECT_EQ(Of(kOurs).oom_kills, 0u);
  EXPECT_LE(Broken(Of(kOurs)), 0.0001);
}

TEST_P(SimulationTest, OursPlacesAQuarterMoreThanWithoutOvercommit) {
  EXPECT_GE(Vms(Of(kOurs)), 1.26 * Vms(Of("none")));
}

TEST_P(SimulationTest, OursPlacesMoreThanWhoeverIsAsSafe) {
  for (const auto& [name, tally] : sums()) {
    if (name == kOurs || Broken(tally) > Broken(Of(kOurs)) || tally.oom_kills > 0) continue;
    EXPECT_GT(Vms(Of(kOurs)), Vms(tally)) << name;
  }
}

TEST_P(SimulationTest, WhoDoesNotOvercommitBreaksNothing) {
  EXPECT_EQ(Of("none").broken, 0u);
  EXPECT_EQ(Of("none").oom_kills + Of("none").evictions, 0u);
}

INSTANTIATE_TEST_SUITE_P(Swap, SimulationTest, testing::Values(0, 32),
                         [](const testing::TestParamInfo<std::int64_t>& swap) {
                           return std::to_string(swap.param) + "GiB";
                         });

// The measure can fail: these are known to break what they promise.
TEST(Simulation, RivalsThatBreakAreSeenToBreak) {
  const Sums& sums = With(Bytes());
  EXPECT_GT(Broken(sums.at("proxmox")), 0.01);
  EXPECT_GT(sums.at("proxmox").oom_kills, 0u);
  EXPECT_GT(Broken(sums.at("static")), 0.001);
  EXPECT_GT(Broken(sums.at("koordinator")), 0.001);
  EXPECT_GT(Broken(sums.at("sigma")), 0.0001);
  EXPECT_GT(Vms(sums.at("proxmox")), Vms(sums.at(kOurs))) << "and what it gains by that";
}

}  // namespace
}  // namespace ullage::simulation
