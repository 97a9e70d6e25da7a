// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/demand.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ullage::simulation {
namespace {

constexpr std::int64_t kMinutes = 2880;

Order OrderOf(std::uint64_t seed) {
  Order order;
  order.seed = seed;
  order.guest = Bytes::GiB(2);
  order.limit = order.guest + Bytes::MiB(136);
  return order;
}

std::vector<Need> Series(Workload workload, std::uint64_t seed, const Climate& climate) {
  Demand demand(OrderOf(seed), workload, climate);
  std::vector<Need> needs;
  for (std::int64_t minute = 0; minute < kMinutes; ++minute)
    needs.push_back(demand.Advance(minute));
  return needs;
}

bool Same(const std::vector<Need>& a, const std::vector<Need>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Need& x, const Need& y) {
    return x.middle == y.middle && x.end == y.end && x.cold == y.cold;
  });
}

TEST(Demand, StaysWithinTheGuestAndFollowsItsSeed) {
  const Climate climate = ClimateOf(1, kMinutes);
  for (const Workload workload : kWorkloads) {
    SCOPED_TRACE(Name(workload));
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const auto needs = Series(workload, seed, climate);
      Bytes before = Bytes::Max();
      for (const Need& need : needs) {
        ASSERT_GT(need.end, Bytes());
        ASSERT_LE(std::max(need.middle, need.end), OrderOf(seed).limit);
        ASSERT_GE(need.cold, Bytes());
        ASSERT_LE(need.cold, std::min(need.end, before)) << "cold is not what came or went";
        before = need.end;
      }
      EXPECT_TRUE(Same(needs, Series(workload, seed, climate)));
      EXPECT_FALSE(Same(needs, Series(workload, seed + 100, climate)));
    }
  }
}

TEST(Demand, ClustersDifferInHowFullTheyAre) {
  double least = 1;
  double most = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    least = std::min(least, ClimateOf(seed, 60).fill);
    most = std::max(most, ClimateOf(seed, 60).fill);
  }
  EXPECT_GE(least, 0.30);
  EXPECT_LT(least, 0.35);
  EXPECT_LE(most, 0.75);
  EXPECT_GT(most, 0.70);
}

TEST(Demand, TheTideLiftsAll) {
  const Climate climate = ClimateOf(1, kMinutes);
  const auto high = std::find(climate.tides.begin(), climate.tides.end(), 1.0F);
  ASSERT_NE(high, climate.tides.end());
  const auto at = static_cast<std::size_t>(high - climate.tides.begin());
  std::size_t before = at;
  while (climate.tides[before] > 0) --before;
  Bytes grown;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto needs = Series(Workload::kTogether, seed, climate);
    grown += needs[at].end - needs[before].end;
  }
  EXPECT_GT(grown, Bytes::GiB(4)) << "of 40 GiB";
}

TEST(Demand, TheSawtoothIsFullBetweenTwoSamples) {
  const Climate climate = ClimateOf(1, kMinutes);
  const auto needs = Series(Workload::kSawtooth, 7, climate);
  std::size_t higher = 0;
  for (std::size_t i = 1; i < needs.size(); ++i) {
    higher += needs[i].middle > std::max(needs[i - 1].end, needs[i].end);
  }
  EXPECT_GT(higher, needs.size() * 9 / 10);
}

TEST(Demand, WorkloadsHaveNames) {
  for (const Workload workload : kWorkloads) EXPECT_EQ(WorkloadNamed(Name(workload)), workload);
  EXPECT_FALSE(WorkloadNamed("nobody"));
}

TEST(Demand, FollowsATrace) {
  TraceSeries series{"a", Bytes(1000), {{0, Bytes(100), Bytes(50)}, {60, Bytes(300), Bytes(150)}}};
  Order order = OrderOf(1);
  order.trace = &series;
  const Climate climate;
  Demand demand(order, Workload::kMixed, climate);
  const Need need = demand.Advance(0);
  EXPECT_EQ(need.middle, Bytes(200));
  EXPECT_EQ(need.end, Bytes(300));
  EXPECT_EQ(need.cold, Bytes(100)) << "no more than it held all the time";
}

}  // namespace
}  // namespace ullage::simulation
