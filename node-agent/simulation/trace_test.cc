// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ullage::simulation {
namespace {

using testing::HasSubstr;

constexpr const char* kHead = "time,vm,resident,cold,limit\n";

TEST(ParseTrace, TakesSeriesInTheOrderOfTheirFirstLines) {
  const auto series = ParseTrace(std::string("# a comment\n\n") + kHead +
                                 "1000,b,300,100,900\r\n1000,a,1,0,5\n1060,b,600,,1000\n");
  ASSERT_TRUE(series) << series.error().message();
  ASSERT_EQ(series->size(), 2u);
  EXPECT_EQ(series->front().vm, "b");
  EXPECT_EQ(series->front().limit, Bytes(1000)) << "the largest of its lines";
  ASSERT_EQ(series->front().points.size(), 2u);
  EXPECT_EQ(series->front().points[1].second, 60) << "counted from the trace's first time";
  EXPECT_EQ(series->front().points[1].cold, Bytes()) << "an empty cold is none";
}

TEST(ParseTrace, EachFaultNamesItsLine) {
  const std::pair<const char*, const char*> kFaults[] = {
      {"1,a,1,0\n", "line 2: not five fields"},
      {"1,a,1,0,5,6\n", "line 2: not five fields"},
      {"x,a,1,0,5\n", "line 2: time"},
      {"-1,a,1,0,5\n", "line 2: time"},
      {"1,,1,0,5\n", "line 2: vm"},
      {"1,a b,1,0,5\n", "line 2: vm"},
      {"1,a,,0,5\n", "line 2: resident"},
      {"1,a,1e9,0,5\n", "line 2: resident"},
      {"1,a,1,zero,5\n", "line 2: cold"},
      {"1,a,1,0,0\n", "line 2: limit"},
      {"1,a,1,0,99999999999999999999\n", "line 2: limit"},
      {"1,a,1,0,1125899906842625\n", "line 2: limit"},
      {"1,a,6,0,5\n", "line 2: resident is larger"},
      {"1,a,1,2,5\n", "line 2: cold is larger"},
      {"\n1,a,1,0,5\n1,a,1,0,5\n", "line 4: this VM's time does not rise"},
      {"1,a,1,0,5\n40000000,b,1,0,5\n", "line 3: more than a year"},
  };
  for (const auto& [text, fault] : kFaults) {
    const auto series = ParseTrace(std::string(kHead) + text);
    ASSERT_FALSE(series) << text;
    EXPECT_THAT(series.error().message(), HasSubstr(fault));
  }
  EXPECT_THAT(ParseTrace("time,vm\n").error().message(), HasSubstr("line 1: the header"));
  EXPECT_FALSE(ParseTrace("")) << "a trace of nobody";
  EXPECT_FALSE(ParseTrace(kHead));
  EXPECT_FALSE(ParseTrace(std::string(kHead) + "1," + std::string(64, 'a') + ",1,0,5\n"));
}

TEST(TraceSeries, RunsOnStraightLinesAndBeginsAnew) {
  const auto series =
      ParseTrace(std::string(kHead) + "0,first,1,0,5\n60,a,100,10,500\n180,a,300,30,500\n");
  ASSERT_TRUE(series);
  const TraceSeries& a = series->at(1);
  EXPECT_EQ(a.At(0).resident, Bytes(100)) << "before its first point";
  EXPECT_EQ(a.At(1).resident, Bytes(100));
  EXPECT_EQ(a.At(2).resident, Bytes(200));
  EXPECT_EQ(a.At(2).cold, Bytes(20));
  EXPECT_EQ(a.At(3).resident, Bytes(300));
  EXPECT_EQ(a.At(4 + 2).resident, Bytes(200)) << "after its last";
}

}  // namespace
}  // namespace ullage::simulation
