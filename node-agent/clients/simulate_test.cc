// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "node-agent/host/temporary_tree.h"

namespace ullage::clients {
namespace {

using testing::HasSubstr;

Standings Two() {
  simulation::Tally none;
  none.counted_hours = none.node_hours = 10;
  none.vm_hours = 200;
  none.windows = 600;
  simulation::Tally ours = none;
  ours.vm_hours = 260;
  ours.broken = 3;
  ours.oom_kills = 1;
  return {{"ullage", "a \"rule\"", ours}, {"none", "no overcommit", none}};
}

TEST(Simulate, TheTableSaysHowManyMoreAndHowSafely) {
  const auto lines = SimulationLines(Two(), 0, false);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[1], HasSubstr("130.0 %"));
  EXPECT_THAT(lines[1], HasSubstr("26.00"));
  EXPECT_THAT(lines[1], HasSubstr("0.5000 %"));
  EXPECT_THAT(lines[2], HasSubstr("100.0 %"));
}

TEST(Simulate, WithoutThatRunDensityIsUnknown) {
  Standings alone = Two();
  alone.pop_back();
  EXPECT_THAT(SimulationLines(alone, 0, false)[1], HasSubstr("?"));
  const auto json = nlohmann::json::parse(SimulationJson({}, "mixed", alone));
  EXPECT_TRUE(json["strategies"][0]["density"].is_null());
}

TEST(Simulate, JsonHasAllFigures) {
  simulation::Plot plot;
  plot.seed = 7;
  const auto json = nlohmann::json::parse(SimulationJson(plot, "bursts", Two()));
  EXPECT_EQ(json["workload"], "bursts");
  EXPECT_EQ(json["seed"], 7);
  const auto& ours = json["strategies"][0];
  EXPECT_EQ(ours["density"], 1.3);
  EXPECT_EQ(ours["windows"], 600);
  EXPECT_EQ(ours["broken"], 3);
  EXPECT_EQ(ours["oom_kills"], 1);
  for (const char* key : {"evictions", "migrations", "writes", "stall_seconds", "placed"}) {
    EXPECT_EQ(ours[key], 0) << key;
  }
}

TEST(Simulate, ABadTraceIsNamedWithItsLine) {
  host::TemporaryTree tree;
  tree.Write("trace.csv", "time,vm,resident,cold,limit\n1,a,9,0,5\n");
  SimulateOptions options;
  options.trace = tree.path() + "/trace.csv";
  EXPECT_THAT(Simulate(options, 0, false).error().message(),
              HasSubstr("trace.csv: line 2: resident is larger than limit"));
  options.trace = tree.path() + "/nowhere.csv";
  EXPECT_EQ(Simulate(options, 0, false).error().code(), Code::kNotFound);
}

TEST(Simulate, PrintsARun) {
  SimulateOptions options;
  options.nodes = 1;
  options.hours = 2;
  options.strategies = {"ullage", "none"};
  options.json = true;
  testing::internal::CaptureStdout();
  const Status done = Simulate(options, 0, false);
  const auto json = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  ASSERT_TRUE(done);
  EXPECT_EQ(json["strategies"].size(), 2u);
  EXPECT_EQ(json["strategies"][1]["node_hours"], 2);
}

}  // namespace
}  // namespace ullage::clients
