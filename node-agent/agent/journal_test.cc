// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/journal.h"

#include <gtest/gtest.h>

namespace ullage::agent {
namespace {

Report WithVm(Hinting hinting, std::string fault = "", std::uint64_t epoch = 1) {
  Report report;
  VmState vm;
  vm.spec.id.value = "a";
  vm.spec.name = "web";
  vm.promised = Bytes::MiB(640);
  vm.hinting = hinting;
  vm.fault = std::move(fault);
  vm.epoch = epoch;
  report.snapshot.vms.push_back(vm);
  return report;
}

std::string Texts(const Report& before, const Report& now) {
  std::string all;
  for (const Entry& entry : Changes(before, now)) all += entry.text + "\n";
  return all;
}

TEST(Changes, SaysWhatIsNewOnce) {
  EXPECT_EQ(Texts({}, WithVm(Hinting::kOn)),
            "vm web: promised 640 MiB (0 MiB on reclaimable memory)\n"
            "vm web: hinting unknown → on\n");
  EXPECT_EQ(Texts(WithVm(Hinting::kOn), WithVm(Hinting::kOn)), "");
  EXPECT_EQ(Texts(WithVm(Hinting::kOn), {}), "vm web: ended\n");
}

TEST(Changes, AFaultBeginsAndEnds) {
  EXPECT_EQ(Texts(WithVm(Hinting::kOn), WithVm(Hinting::kOn, "gone")), "vm web: gone\n");
  EXPECT_EQ(Texts(WithVm(Hinting::kOn, "gone"), WithVm(Hinting::kOn, "gone")), "");
  EXPECT_EQ(Texts(WithVm(Hinting::kOn, "gone"), WithVm(Hinting::kOn)), "vm web: well again\n");
}

TEST(Changes, ARebootIsSaid) {
  EXPECT_EQ(Texts(WithVm(Hinting::kOn, "", 1), WithVm(Hinting::kOn, "", 2)),
            "vm web: guest restarted\n");
}

TEST(Changes, AFailedActionIsAWarning) {
  Report now;
  now.outcomes.push_back(
      {{Action::Kind::kSwitchHintingOn, {"a"}, ""}, Outcome::State::kFailed, "no such domain"});
  const auto entries = Changes({}, now);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].level, Entry::Level::kWarning);
}

TEST(Changes, AnActionIsSaidWhenItBegins) {
  Report now;
  now.outcomes.push_back({{Action::Kind::kSwitchHintingOn, {"a"}, "it is off"},
                          Outcome::State::kSkipped,
                          "this agent only observes"});
  EXPECT_EQ(Texts({}, now),
            "switch-hinting-on of a: skipped (this agent only observes): it is off\n");
  EXPECT_EQ(Texts(now, now), "");
}

TEST(Changes, OfAVmThatIsToGoEachWordIsSaid) {
  Report now;
  now.outcomes.push_back({{Action::Kind::kEvict, {"a"}, "r"}, Outcome::State::kQueued, ""});
  EXPECT_EQ(Texts({}, now), "evict of a: queued: r\n");
  Report later;
  later.outcomes.push_back(
      {{Action::Kind::kEvict, {"a"}, "r"}, Outcome::State::kDone, "its pod ends"});
  EXPECT_EQ(Texts(now, later), "evict of a: done (its pod ends): r\n");
}

TEST(Changes, WhatTheApiServerSaysWrongIsSaidOnce) {
  Report now;
  now.snapshot.node = NodeSample{};
  now.snapshot.node->fault = "refused";
  now.snapshot.node->policy = "p";
  now.snapshot.node->policy_fault = "growth is odd";
  PodSample pod;
  pod.name_space = "ns";
  pod.name = "pod";
  pod.fault = "a request";
  now.snapshot.node->pods.Edit() = {pod};
  VmiSample vmi;
  vmi.spec.name = "ns/v";
  vmi.fault = "two pods";
  now.snapshot.node->vmis.Edit() = {vmi};
  EXPECT_EQ(Texts({}, now),
            "API server: refused\npolicy: growth is odd\nReclaimPolicy p is in force\n"
            "VMI ns/v: two pods\npod ns/pod: a request\n");
  EXPECT_EQ(Texts(now, now), "");
  Report well;
  well.snapshot.node = NodeSample{};
  EXPECT_EQ(Texts(now, well),
            "API server: well again\npolicy: well again\n"
            "no ReclaimPolicy is in force: the configuration applies\n");
}

TEST(Changes, CapacityThatMovesIsSaidWithItsReason) {
  Report now;
  now.plan.capacity.published = Bytes::MiB(128);
  now.plan.capacity.reason = "because";
  EXPECT_EQ(Texts({}, now), "published 0 MiB → 128 MiB: because\n");
}

}  // namespace
}  // namespace ullage::agent
