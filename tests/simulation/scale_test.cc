// SPDX-License-Identifier: Apache-2.0
// What an API server has to bear of many agents; docs/scale.md has the limits that stand here, for
// 5,000 nodes.
#include "tests/simulation/scale.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/simulation/virtual_time.h"

namespace ullage::simulation {
namespace {

constexpr std::size_t kNodes = 300;
// Of a cluster of 5,000.
constexpr double kScale = 5000.0 / kNodes;

const ScaleResult& Result() {
  static const ScaleResult result = [] {
    ScalePlot plot;
    plot.nodes = kNodes;
    plot.tick = seconds(10);
    plot.history = std::chrono::hours(6);
    return RunScale(plot);
  }();
  return result;
}

double Mean(std::size_t from, std::size_t to, std::uint32_t (Load::*of)() const) {
  double sum = 0;
  for (std::size_t i = from; i < to; ++i) sum += (Result().loads[i].*of)();
  return sum / static_cast<double>(to - from);
}
// Over 5 s, so that it does not hang on a handful: few of the nodes are here.
double Peak(std::size_t from, std::size_t to, std::uint32_t (Load::*of)() const) {
  double most = 0;
  for (std::size_t i = from; i + 5 <= to; ++i) most = std::max(most, Mean(i, i + 5, of));
  return most;
}

TEST(Scale, AtRestEveryNodeIsFollowedAndLittleIsWritten) {
  EXPECT_GE(Result().watches, 4 * kNodes - 8) << "but for those that just begin anew";
  EXPECT_GT(Result().vms, 20);
  EXPECT_GT(Result().published, kNodes / 2) << "else nothing of the resource is seen";
  const std::size_t from = Result().rest_from;
  const std::size_t to = Result().left;
  for (std::size_t i = from; i < to; ++i) {
    EXPECT_EQ(Result().loads[i].lists + Result().loads[i].etcd_lists, 0u) << "second " << i;
  }
  EXPECT_GT(Mean(from, to, &Load::Writes), 0);
  EXPECT_LE(kScale * Mean(from, to, &Load::Writes), 100);
  EXPECT_LE(kScale * Peak(from, to, &Load::Writes), 250);
  EXPECT_LE(Result().most_reclaim, 8192u);
}

TEST(Scale, AfterARestartNobodyReadsEtcdAndThePeakIsBounded) {
  const std::size_t from = Result().returned;
  std::uint64_t lists = 0;
  for (std::size_t i = from; i < Result().loads.size(); ++i) {
    EXPECT_EQ(Result().loads[i].etcd_lists, 0u) << "second " << i;
    lists += Result().loads[i].lists;
  }
  EXPECT_GE(lists, 4 * kNodes) << "each had to list anew";
  EXPECT_LE(lists, 4 * kNodes + kNodes / 10) << "and nobody twice";
  EXPECT_LE(kScale * Peak(from, from + 120, &Load::Requests), 4000);
  EXPECT_LE(kScale * Peak(from, from + 120, &Load::Writes), 500);
  EXPECT_LE(kScale * Mean(from, from + 1, &Load::Requests), 6000) << "not all in the first second";
}

TEST(Scale, CalmIsBackWithinAMinute) {
  const std::size_t calm = Result().returned + 60;
  EXPECT_LE(kScale * Peak(calm, Result().loads.size(), &Load::Requests), 250);
}

TEST(VirtualTime, RunsWhoIsDueInTheOrderOfTheirTimes) {
  VirtualTime time(seconds(10));
  std::stop_source stop;
  std::vector<std::string> seen;
  VirtualTime::Id sleeper = 0;
  time.Begin([&] {
    sleeper = time.Self();
    seen.push_back(time.WaitUntil(seconds(100)) ? "woken" : "late");
    seen.push_back(time.For(seconds(5), stop.get_token()) ? "rested" : "stopped");
  });
  time.Begin([&] {
    time.For(seconds(2), stop.get_token());
    seen.emplace_back("wakes");
    time.Wake(sleeper);
    time.For(seconds(1000), stop.get_token());
    seen.emplace_back("ends");
  });
  time.RunUntil(seconds(20));
  EXPECT_EQ(seen, (std::vector<std::string>{"wakes", "woken", "rested"}));
  EXPECT_EQ(time.now(), seconds(20));
  stop.request_stop();
  time.RunOut();
  EXPECT_EQ(seen.back(), "ends");
}

}  // namespace
}  // namespace ullage::simulation
