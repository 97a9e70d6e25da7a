// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ullage::simulation {
namespace {

using testing::HasSubstr;

Plot Small(Workload workload = Workload::kMixed) {
  Plot plot;
  plot.workload = workload;
  plot.nodes = 2;
  plot.hours = 12;
  plot.machine.total = Bytes::GiB(16);
  return plot;
}

Tally Of(const Plot& plot, const std::string& name) {
  const auto standings = Compare(plot, {name});
  if (!standings || standings->size() != 1) {
    ADD_FAILURE() << name;
    return {};
  }
  return standings->front().tally;
}

bool Same(const Tally& a, const Tally& b) {
  return a.vm_hours == b.vm_hours && a.windows == b.windows && a.broken == b.broken &&
         a.oom_kills == b.oom_kills && a.evictions == b.evictions && a.migrations == b.migrations &&
         a.writes == b.writes && a.placed == b.placed;
}

TEST(Cluster, OneSeedIsOneRun) {
  for (const char* name : {"ullage", "sigma", "koordinator"}) {
    Plot plot = Small();
    const Tally tally = Of(plot, name);
    EXPECT_TRUE(Same(tally, Of(plot, name))) << name;
    plot.seed = 2;
    EXPECT_FALSE(Same(tally, Of(plot, name))) << name;
  }
}

TEST(Cluster, WithoutOvercommitNothingCanBreak) {
  for (const Workload workload : kWorkloads) {
    const Tally tally = Of(Small(workload), "none");
    EXPECT_EQ(tally.broken, 0u) << Name(workload);
    EXPECT_EQ(tally.oom_kills + tally.evictions, 0u);
    EXPECT_NEAR(tally.node_hours, 24, 1e-6);
    EXPECT_EQ(tally.windows, 2u * (12 * 60 - 11)) << "all but the empty minute and the open ones";
    EXPECT_LT(tally.promised_hours / tally.counted_hours, 1);
    EXPECT_GT(tally.promised_hours / tally.counted_hours, 0.8) << "the queue keeps it full";
  }
}

TEST(Cluster, OursPromisesMoreThanTheHostHas) {
  Plot plot = Small();
  plot.seed = 5;  // a cluster that is not full
  plot.machine.total = Bytes::GiB(32);
  const Tally ours = Of(plot, "ullage");
  EXPECT_GT(ours.promised_hours / ours.counted_hours, 1);
  EXPECT_GT(ours.vm_hours, Of(plot, "none").vm_hours);
  EXPECT_GT(ours.writes, 0u);
}

TEST(Cluster, WhoPromisesByUseAloneBreaksIt) {
  const Tally tally = Of(Small(Workload::kTogether), "proxmox");
  EXPECT_GT(tally.broken, tally.windows / 1000);
  EXPECT_GT(tally.oom_kills, 0u);
}

TEST(Cluster, SwapTakesWhatWouldHaveKilled) {
  Plot plot = Small(Workload::kTogether);
  const Tally without = Of(plot, "proxmox");
  plot.machine.swap = Bytes::GiB(16);
  const Tally with = Of(plot, "proxmox");
  EXPECT_LT(with.oom_kills, without.oom_kills);
  EXPECT_GT(with.most_out, Bytes());
}

TEST(Cluster, FewVmsRunWithAnyStrategy) {
  Plot plot = Small();
  plot.vms = 3;
  EXPECT_NEAR(Of(plot, "none").vm_hours, 27, 1e-6);
  EXPECT_NEAR(Of(plot, "ullage").vm_hours, 27, 1e-6);
}

TEST(Cluster, ATraceIsFollowed) {
  const auto series = ParseTrace(
      "time,vm,resident,cold,limit\n"
      "0,a,1073741824,0,4294967296\n3600,a,3221225472,0,4294967296\n0,b,100,0,4294967296\n");
  ASSERT_TRUE(series);
  Plot plot = Small();
  plot.trace = &*series;
  const Tally none = Of(plot, "none");
  EXPECT_NEAR(none.vm_hours / none.counted_hours, 3, 0.01) << "15.5 GiB hold three of 4";
  EXPECT_GT(Of(plot, "static").vm_hours, none.vm_hours);
}

TEST(Cluster, WhatMakesNoSenseIsRefused) {
  Plot plot = Small();
  EXPECT_THAT(Compare(plot, {"nobody"}).error().message(), HasSubstr("nobody"));
  plot.nodes = 0;
  EXPECT_THAT(Compare(plot, {}).error().message(), HasSubstr("nodes"));
  plot = Small();
  plot.hours = kMostHours + 1;
  EXPECT_THAT(Compare(plot, {}).error().message(), HasSubstr("hours"));
  plot = Small();
  plot.machine.total = Bytes();
  EXPECT_THAT(Compare(plot, {}).error().message(), HasSubstr("memory"));
}

TEST(Cluster, AllRunOnTheSameVms) {
  Plot plot = Small();
  plot.hours = 2;
  const auto standings = Compare(plot, {});
  ASSERT_TRUE(standings);
  EXPECT_EQ(standings->size(), Rivals().size() + 1);
  EXPECT_EQ(standings->front().name, kOurs);
}

}  // namespace
}  // namespace ullage::simulation
