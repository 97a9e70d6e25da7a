// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/pod_charges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

constexpr const char* kA = "3f0c5c1e-0000-4000-8000-00000000000a";
constexpr const char* kB = "3f0c5c1e-0000-4000-8000-00000000000b";

class PodChargesTest : public testing::Test {
 protected:
  PodChargesTest() { Own("0::/\n"); }
  void Own(const std::string& cgroup) {
    tree_.Write("proc/" + std::to_string(getpid()) + "/cgroup", cgroup);
  }
  // In MiB: in use by programs, and cache on top.
  void Charge(const std::string& group, int used, int cache) {
    const auto mib = [](int n) { return std::to_string(Bytes::MiB(n).count()); };
    const std::string folder = "cgroup/" + group + "/";
    tree_.Write(folder + "cgroup.procs", "");
    tree_.Write(folder + "memory.current", mib(used + cache) + "\n");
    tree_.Write(folder + "memory.stat", "anon " + mib(used) + "\nactive_file " + mib(cache) +
                                            "\ninactive_file 0\nslab_reclaimable 0\n");
  }
  std::optional<Bytes> Held(const std::string& uid) {
    PodSample pod;
    pod.uid = uid;
    const auto held = charges_.Read(now_, SharedList(std::vector{pod}));
    const auto at = held.find(uid);
    return at == held.end() ? std::nullopt : std::optional(at->second);
  }
  void Pass(milliseconds time) { now_ += time; }

  host::TemporaryTree tree_;
  PodCharges charges_{{tree_.path("proc"), tree_.path("cgroup")}};
  BootTime now_{seconds(100)};
};

TEST_F(PodChargesTest, CountsWhatNobodyElseCanHave) {
  Charge(std::string("kubepods.slice/kubepods-pod3f0c5c1e_0000_4000_8000_00000000000a.slice"), 300,
         500);
  EXPECT_EQ(Held(kA), Bytes::MiB(300)) << "cache is available already";
  EXPECT_EQ(Held(kB), std::nullopt) << "unknown is not nothing";
}

TEST_F(PodChargesTest, FindsPodsOfCgroupfsOnV1) {
  Own("9:memory:/kubepods/poda\n0::/\n");
  const std::string folder = std::string("cgroup/memory/kubepods/burstable/pod") + kA + "/";
  tree_.Write(folder + "cgroup.procs", "");
  tree_.Write(folder + "memory.usage_in_bytes", std::to_string(Bytes::MiB(64).count()) + "\n");
  tree_.Write(folder + "memory.stat", "inactive_file 0\nactive_file 0\ntotal_inactive_file " +
                                          std::to_string(Bytes::MiB(10).count()) +
                                          "\ntotal_active_file " +
                                          std::to_string(Bytes::MiB(4).count()) + "\n");
  EXPECT_EQ(Held(kA), Bytes::MiB(50));
}

TEST_F(PodChargesTest, LeavesVmsAlone) {
  Charge(std::string("kubepods/pod") + kA, 300, 0);
  PodSample pod;
  pod.uid = kA;
  pod.vmi = VmId{"v"};
  EXPECT_THAT(charges_.Read(now_, SharedList(std::vector{pod})), testing::IsEmpty());
}

TEST_F(PodChargesTest, BetweenTwoTurnsItFallsAtOnceAndRisesLater) {
  const std::string group = std::string("kubepods/pod") + kA;
  Charge(group, 300, 100);
  ASSERT_EQ(Held(kA), Bytes::MiB(300));
  Charge(group, 200, 100);
  EXPECT_EQ(Held(kA), Bytes::MiB(200)) << "its memory is available: it counts again";
  Charge(group, 300, 500);
  EXPECT_EQ(Held(kA), Bytes::MiB(300)) << "it may all be cache";
  Charge(group, 600, 500);
  EXPECT_EQ(Held(kA), Bytes::MiB(300));
  Pass(PodCharges::Rules().cache_every);
  EXPECT_EQ(Held(kA), Bytes::MiB(600));
}

TEST_F(PodChargesTest, ManyPodsHaveTheirTurns) {
  PodCharges charges({tree_.path("proc"), tree_.path("cgroup")}, {.caches_a_tick = 2});
  SharedList<PodSample> pods(std::vector<PodSample>(5));
  for (std::size_t i = 0; i < pods.size(); ++i) {
    pods.Edit()[i].uid = std::string(kA).substr(0, 35) + std::to_string(i);
    Charge("kubepods/pod" + pods[i].uid, 300, 0);
  }
  EXPECT_EQ(charges.Read(now_, pods).size(), 2u);
  EXPECT_EQ(charges.Read(now_, pods).size(), 4u);
  EXPECT_EQ(charges.Read(now_, pods).size(), 5u);
  // All are due again and none is forgotten: in three ticks each is read anew.
  for (const PodSample& pod : pods) Charge("kubepods/pod" + pod.uid, 400, 0);
  for (int i = 0; i < 3; ++i) {
    Pass(PodCharges::Rules().cache_every);
    charges.Read(now_, pods);
  }
  const auto held = charges.Read(now_, pods);
  EXPECT_EQ(held.size(), 5u);
  EXPECT_THAT(held, testing::Each(testing::Pair(testing::_, Bytes::MiB(400))));
}

TEST_F(PodChargesTest, LooksForNewPodsNowAndThen) {
  EXPECT_EQ(Held(kA), std::nullopt);
  Charge(std::string("kubepods/pod") + kA, 300, 0);
  EXPECT_EQ(Held(kA), std::nullopt) << "a walk through all cgroups is not for every tick";
  Pass(PodCharges::Rules().look_every);
  EXPECT_EQ(Held(kA), Bytes::MiB(300));
}

TEST_F(PodChargesTest, ACgroupThatIsGoneIsUnknown) {
  Charge(std::string("kubepods/pod") + kA, 300, 0);
  ASSERT_EQ(Held(kA), Bytes::MiB(300));
  tree_.Remove("cgroup/kubepods");
  EXPECT_EQ(Held(kA), std::nullopt);
  Charge(std::string("kubepods/besteffort/pod") + kA, 100, 0);
  Pass(PodCharges::Rules().look_every);
  EXPECT_EQ(Held(kA), Bytes::MiB(100));
}

TEST_F(PodChargesTest, OfTwoWithOneNameNeitherIsBelieved) {
  Charge(std::string("kubepods/pod") + kA, 300, 0);
  Charge(std::string("other/kubepods/pod") + kA, 900, 0);
  EXPECT_EQ(Held(kA), std::nullopt);
}

TEST_F(PodChargesTest, WhatCannotBeReadIsUnknown) {
  Charge(std::string("kubepods/pod") + kA, 300, 0);
  tree_.Write(std::string("cgroup/kubepods/pod") + kA + "/memory.stat", "anon 1\n");
  EXPECT_EQ(Held(kA), std::nullopt);
  Charge(std::string("kubepods/pod") + kB, 300, 0);
  tree_.Write(std::string("cgroup/kubepods/pod") + kB + "/memory.current", "pear\n");
  EXPECT_EQ(Held(kB), std::nullopt);
  EXPECT_EQ(Held("../../etc"), std::nullopt);
}

}  // namespace
}  // namespace ullage::sources
