// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/hybrid.h"

#include <gtest/gtest.h>

#include "node-agent/policy/hybrid_fixture.h"

namespace ullage::policy {
namespace {

using Kind = Action::Kind;

TEST(Hybrid, DoesNothingWhileNobodyIsShort) {
  HybridHost host;
  host.Add("a", 900);
  host.Add("b", 900, Reclaim::kHints);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(host.Tick().actions.empty());
  EXPECT_EQ(host.plan.squeeze, Squeeze::kNone);
  EXPECT_EQ(host.plan.capacity.additional.mib(), 64);
  EXPECT_NE(host.plan.vms[0].hybrid, "");
  EXPECT_EQ(host.plan.vms[1].hybrid, "") << "it is not hybrid";
}

TEST(Hybrid, TakesColdMemoryGentlyDownToTheFloor) {
  HybridHost host;
  VmState& vm = host.Add("a", 900);
  std::optional<BootTime> last;
  for (int i = 0; i < 3600; ++i) {
    vm.working_set.cold = Bytes::MiB(std::max<std::int64_t>(vm.resident->mib() - 400, 0));
    host.Tick();
    for (const Action& action : host.Of(Kind::kPageOut)) {
      EXPECT_LE(action.amount, std::max(*vm.resident * Permyriad{100}, Bytes::MiB(1)));
      EXPECT_TRUE(!last || host.snapshot.at.boot - *last >= seconds(5));
      last = host.snapshot.at.boot;
      *vm.resident -= action.amount;
      vm.swapped = vm.swapped.value_or(Bytes()) + action.amount;
    }
    EXPECT_EQ(host.plan.actions.size(), host.Of(Kind::kPageOut).size()) << "nothing else is done";
    ASSERT_GE(vm.resident->mib(), 400) << "never below its working set";
  }
  EXPECT_LE(vm.resident->mib(), 402) << "500 MiB of 900 were cold";
}

TEST(Hybrid, LeavesColdMemoryWhereItIsNotKnownOrNotWelcome) {
  const auto taken = [](auto change) {
    HybridHost host;
    VmState& vm = host.Add("a", 900);
    vm.working_set.cold = Bytes::MiB(500);
    change(host, vm);
    for (int i = 0; i < 30; ++i) host.Tick();
    return host.snapshot.vms[0].hybrid.paged_at.has_value();
  };
  EXPECT_TRUE(taken([](HybridHost&, VmState&) {}));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.working_set.cold.reset(); }))
      << "its probe has not looked yet";
  EXPECT_TRUE(taken([](HybridHost&, VmState& vm) { vm.working_set = {}; }))
      << "nobody looks: the kernel chooses";
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.faults_a_minute.reset(); }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.pressure_some_avg10 = Permyriad{11}; }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.spec.reclaim = Reclaim::kHints; }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.exempt = "huge pages"; }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.leaving = true; }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.run = Run::kPaused; }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.answered_at.reset(); }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.swap_limit = Bytes(); }));
  EXPECT_FALSE(taken([](HybridHost&, VmState& vm) { vm.spec.min_memory = Bytes::MiB(900); }));
  EXPECT_FALSE(taken([](HybridHost& h, VmState&) { h.snapshot.host.swap_free.reset(); }));
  EXPECT_FALSE(taken([](HybridHost& h, VmState&) { h.snapshot.host.swap_free = Bytes(); }));
  EXPECT_FALSE(taken([](HybridHost& h, VmState& vm) { vm.guest_swapped_at = h.snapshot.at.boot; }))
      << "its guest swaps the same pages";
}

TEST(Hybrid, IdleMemoryGivesFirst) {
  HybridHost host;
  host.Add("busy", 900).working_set.active = Permyriad{5000};
  host.Add("idle", 800).working_set.active = Permyriad{500};
  host.Add("dear", 900).spec.shares = 10000;
  host.left = Bytes::MiB(600);
  host.Tick();
  EXPECT_EQ(host.plan.squeeze, Squeeze::kShrink);
  ASSERT_EQ(host.plan.actions.size(), 1u) << "one gives at a time";
  EXPECT_EQ(host.plan.actions[0].id.value, "idle");
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kSetBalloon);
  EXPECT_EQ(host.plan.actions[0].amount.mib(), 750) << "5 % of the guest below what it holds";
}

TEST(Hybrid, OneTurnAfterTheOther) {
  HybridHost host;
  host.Add("a", 1000);
  host.Add("b", 990);
  host.left = Bytes::MiB(600);
  std::vector<std::string> turns;
  for (int i = 0; i < 95; ++i) {
    host.Tick();
    for (const Action& action : host.plan.actions) {
      if (action.kind == Kind::kSetBalloon) {
        *host.vm(action.id.value.c_str()).resident = action.amount;  // it follows at once
      }
      if (turns.empty() || turns.back() != action.id.value) turns.push_back(action.id.value);
    }
  }
  EXPECT_EQ(turns, (std::vector<std::string>{"a", "b", "a", "b"}));
}

TEST(Hybrid, KnowsAnUncooperativeBalloonWithinFifteenSeconds) {
  HybridHost host;
  host.Add("a", 900);
  host.left = Bytes::MiB(600);
  int tick = 0;
  while (!host.snapshot.vms[0].hybrid.gave_up_at && ++tick < 100) host.Tick();
  EXPECT_LE(tick, 15) << "the first step, and 14 s";
  EXPECT_NE(host.Of(Kind::kPageOut, "a"), nullptr) << "and goes on in another way in that tick";
  for (int i = 0; i < 590; ++i) {
    host.Tick();
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
  }
  bool again = false;
  for (int i = 0; i < 60; ++i) {
    host.Tick();
    again = again || host.Of(Kind::kSetBalloon, "a") != nullptr;
  }
  EXPECT_TRUE(again) << "it is tried again after 10 minutes";
}

TEST(Hybrid, WhatGoesToSwapIsNoProgressOfABalloon) {
  HybridHost host;
  host.Add("a", 900).swapped = Bytes();
  host.left = Bytes::MiB(600);
  int tick = 0;
  for (; !host.snapshot.vms[0].hybrid.gave_up_at && tick < 100; ++tick) {
    host.Tick();
    // Three pages of each hundred go to swap.
    *host.vm("a").resident -= Bytes::MiB(3);
    *host.vm("a").swapped += Bytes::MiB(3);
  }
  EXPECT_LE(tick, 15);
}

TEST(Hybrid, ABalloonLeavesTheGuestWhatItCannotGive) {
  HybridHost host;
  VmState& vm = host.Add("a", 1000);
  vm.guest.usable = Bytes::MiB(70);  // 50 of them are its reserve
  host.left = Bytes::MiB(600);
  host.Tick();
  ASSERT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr);
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a")->amount.mib(), 980);
  host.vm("a").guest.usable = Bytes::MiB(50);
  host.Tick(seconds(5));
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
  EXPECT_NE(host.Of(Kind::kPageOut, "a"), nullptr) << "the host takes the rest";
}

TEST(Hybrid, ABalloonIsNotFilledWhileItsGuestGrows) {
  HybridHost host;
  VmState& vm = host.Add("a", 400);
  vm.guest.usable = Bytes::MiB(900);  // of a while ago
  host.Tick();
  host.left = Bytes::MiB(600);
  for (int held = 500; held <= 900; held += 100) {
    *host.vm("a").resident = Bytes::MiB(held);
    host.Tick();
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr) << "a program may need the rest next";
  }
  for (int i = 0; i < 9; ++i) {
    host.Tick();
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
  }
  host.Tick();
  EXPECT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr);
}

TEST(Hybrid, ABalloonIsNotFilledWhileItsGuestBootsAndSaysNothing) {
  HybridHost host;
  VmState& vm = host.Add("a", 900);
  vm.guest.usable.reset();
  vm.watched_since = host.snapshot.at.boot;
  host.left = Bytes::MiB(600);
  host.Tick();
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
  EXPECT_NE(host.Of(Kind::kPageOut, "a"), nullptr) << "the host takes what it can";
  host.Tick(seconds(60));
  EXPECT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr) << "it will not say, but may follow";
}

TEST(Hybrid, AGuestThatHasJustComeKeepsItsBalloonEmpty) {
  HybridHost host;
  host.Add("a", 900).hybrid.held_last.reset();
  host.left = Bytes::MiB(600);
  for (int i = 0; i < 10; ++i) {
    host.Tick();
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr) << "it boots, and says what it had then";
  }
  host.Tick();
  EXPECT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr);
}

TEST(Hybrid, AGuestThatRunsOutGetsItsBalloonBack) {
  HybridHost host;
  host.Add("a", 900).guest.usable = Bytes::MiB(500);
  host.left = Bytes::MiB(600);
  host.Tick();
  ASSERT_EQ(host.vm("a").hybrid.balloon_wish, Bytes::MiB(850));
  host.vm("a").guest.usable = Bytes::MiB(25);
  host.Tick();
  EXPECT_EQ(host.vm("a").hybrid.balloon_wish, Bytes::MiB(850)) << "that is enough still";
  host.vm("a").guest.usable = Bytes::MiB(24);
  host.Tick();
  EXPECT_EQ(host.vm("a").hybrid.balloon_wish, Bytes::MiB(950));
  host.Tick();
  EXPECT_EQ(host.vm("a").hybrid.balloon_wish, std::nullopt);
  host.Tick();
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr) << "it has all it was promised";
}

// virtio 1.2, 5.5.3: without VIRTIO_BALLOON_F_DEFLATE_ON_OOM a full balloon stays full.
TEST(Hybrid, AGuestThatCannotEmptyItsBalloonKeepsAFifthUsable) {
  for (const std::optional<bool> autodeflate : {std::optional(false), std::optional<bool>()}) {
    HybridHost host;
    VmState& vm = host.Add("a", 1000);
    vm.autodeflate = autodeflate;
    vm.guest.usable = Bytes::MiB(220);
    host.left = Bytes::MiB(600);
    host.Tick();
    ASSERT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr);
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a")->amount.mib(), 980);
    host.vm("a").guest.usable = Bytes::MiB(200);
    host.Tick(seconds(5));
    EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
    EXPECT_NE(host.Of(Kind::kPageOut, "a"), nullptr) << "the host takes the rest";
    host.vm("a").guest.usable = Bytes::MiB(99);
    host.Tick();
    EXPECT_EQ(host.vm("a").hybrid.balloon_wish, std::nullopt) << "it gets back what it can use";
  }
}

TEST(Hybrid, AGuestThatCannotEmptyItsBalloonHasToSayWhatIsUsable) {
  HybridHost host;
  VmState& vm = host.Add("a", 900);
  vm.autodeflate = false;
  vm.guest.usable.reset();
  host.left = Bytes::MiB(600);
  host.snapshot.host.swap_free = Bytes();
  host.Tick();
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a"), nullptr);
  EXPECT_NE(host.plan.vms[0].hybrid.find("no autodeflate"), std::string::npos);
  host.vm("a").autodeflate = true;
  host.Tick();
  EXPECT_NE(host.Of(Kind::kSetBalloon, "a"), nullptr);
}

TEST(Hybrid, LimitsTheGreedyOnlyWhenItIsNearlyTooLate) {
  HybridHost host;
  host.Add("a", 900);
  host.left = Bytes::MiB(330);
  host.Tick();
  EXPECT_TRUE(host.Of(Kind::kLimit).empty());
  host.left = Bytes::MiB(310);
  host.Tick();
  ASSERT_EQ(host.Of(Kind::kLimit).size(), 1u);
  EXPECT_EQ(host.Of(Kind::kLimit)[0].amount.mib(), 918);
  host.vm("a").leased = LeasedLimit{Bytes::MiB(918), {}, false};
  host.Tick();
  EXPECT_TRUE(host.Of(Kind::kLimit).empty()) << "it stands";
  host.left = Bytes::MiB(1000);
  host.Tick();
  EXPECT_NE(host.Of(Kind::kUnlimit, "a"), nullptr);
}

TEST(Hybrid, DoesNotLimitWhatHasNowhereToGo) {
  HybridHost host;
  host.Add("a", 900);
  host.left = Bytes::MiB(310);
  host.snapshot.host.swap_total = Bytes::MiB(100);
  host.snapshot.host.swap_free = Bytes::MiB(100);
  host.Tick();
  EXPECT_TRUE(host.Of(Kind::kLimit).empty());
}

TEST(Hybrid, AnotherWriterOfALimitWins) {
  HybridHost host;
  host.Add("a", 900);
  host.left = Bytes::MiB(310);
  host.Tick();
  ASSERT_FALSE(host.Of(Kind::kLimit).empty());
  host.vm("a").leased = LeasedLimit{Bytes::MiB(500), {}, true};
  for (int i = 0; i < 600; ++i) {
    host.Tick();
    ASSERT_TRUE(host.Of(Kind::kLimit).empty()) << i;
    ASSERT_TRUE(host.Of(Kind::kUnlimit).empty()) << i;
  }
  host.vm("a").leased.reset();
  int later = 0;
  do {
    host.Tick();
  } while (host.Of(Kind::kLimit).empty() && ++later < 100);
  EXPECT_LT(later, 100);
}

TEST(Hybrid, AWokenVmGetsItsLimitLiftedFirst) {
  HybridHost host;
  VmState& vm = host.Add("a", 300);
  vm.swapped = Bytes::MiB(600);
  vm.leased = LeasedLimit{Bytes::MiB(310), {}, false};
  vm.hybrid.limit_wish = Bytes::MiB(310);
  vm.hybrid.balloon_wish = Bytes::MiB(400);
  vm.faults_a_minute = 60000;
  host.left = Bytes::MiB(900);
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kUnlimit);
  host.vm("a").leased.reset();
  host.Tick();
  ASSERT_EQ(host.plan.actions.size(), 1u);
  EXPECT_EQ(host.plan.actions[0].kind, Kind::kFetch) << "580 MiB above the lowest mark";
  EXPECT_EQ(host.plan.actions[0].amount.mib(), 580);
  host.Tick();
  EXPECT_TRUE(host.Of(Kind::kFetch).empty()) << "once a minute";
  ASSERT_EQ(host.Of(Kind::kSetBalloon).size(), 1u);
  EXPECT_EQ(host.Of(Kind::kSetBalloon)[0].amount.mib(), 656);
  EXPECT_NE(host.plan.vms[0].hybrid.find("misses 60000 pages"), std::string::npos);
  EXPECT_TRUE(host.snapshot.vms[0].hybrid.woke_at.has_value());
}

TEST(Hybrid, TheNeedyDrawOnTheGreedyInProportion) {
  HybridHost host;
  host.Add("greedy", 1000);  // 750 above its floor
  host.Add("modest", 500);   // 250
  host.Add("needy", 500).pressure_some_avg10 = Permyriad{100};
  host.left = Bytes::MiB(1216);  // the buffer, and 40 MiB less than the needy one is helped with
  host.Tick();
  EXPECT_EQ(host.plan.squeeze, Squeeze::kNone);
  ASSERT_EQ(host.Of(Kind::kSetBalloon).size(), 2u);
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "greedy")->amount.mib(), 970) << "30 of 40";
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "modest")->amount.mib(), 490) << "10 of 40";
}

TEST(Hybrid, ServesTheNeedyByRank) {
  HybridHost host;
  for (const char* id : {"a", "b", "c"}) {
    VmState& vm = host.Add(id, 500);
    vm.hybrid.balloon_wish = Bytes::MiB(500);
    vm.pressure_some_avg10 = Permyriad{100};
  }
  host.vm("b").spec.shares = 2000;
  host.left = Bytes::MiB(320 + 256 + 100);
  host.Tick();
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "b")->amount.mib(), 756);
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a")->amount.mib(), 600) << "what is left of the buffer";
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "c"), nullptr);
}

TEST(Hybrid, BalloonsAreEmptiedOnceThereIsPlenty) {
  HybridHost host;
  host.Add("a", 400).hybrid.balloon_wish = Bytes::MiB(400);
  host.left = Bytes::MiB(1240);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(host.Tick().actions.empty());
  host.left = Bytes::MiB(1260);
  for (int i = 0; i < 100; ++i) host.Tick();
  EXPECT_FALSE(host.snapshot.vms[0].hybrid.balloon_wish.has_value()) << "all is the guest's again";
}

TEST(Hybrid, TheFirstHelpComesAtOnceWhenTheHostHasEnoughAgain) {
  HybridHost host;
  for (const char* id : {"a", "b"}) host.Add(id, 700);
  host.left = Bytes::MiB(600);
  host.Tick();
  for (const char* id : {"a", "b"}) host.vm(id).hybrid.balloon_wish = Bytes::MiB(500);
  host.left = Bytes::MiB(1250 + 256 + 100);
  host.Tick();
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "b")->amount.mib(), 756);
  EXPECT_EQ(host.Of(Kind::kSetBalloon, "a")->amount.mib(), 600)
      << "what is left beyond plenty, though it was filled a second ago";
  host.Tick();
  EXPECT_TRUE(host.plan.actions.empty()) << "the next in 5 s";
}

TEST(Hybrid, WhoeverIsNoLongerOursGetsAllBack) {
  for (const bool leaves : {true, false}) {
    HybridHost host;
    VmState& vm = host.Add("a", 400);
    vm.hybrid.balloon_wish = Bytes::MiB(400);
    vm.leased = LeasedLimit{Bytes::MiB(410), {}, false};
    vm.leaving = leaves;
    if (!leaves) vm.spec.reclaim = Reclaim::kOff;
    host.left = Bytes::MiB(100);
    host.Tick();
    ASSERT_EQ(host.plan.actions.size(), 2u);
    EXPECT_EQ(host.plan.actions[0].kind, Kind::kUnlimit);
    EXPECT_EQ(host.plan.actions[1].amount.mib(), 1000);
  }
}

TEST(Hybrid, NobodyGivesWhileTheHostIsUnknown) {
  HybridHost host;
  host.Add("a", 900).working_set.cold = Bytes::MiB(500);
  host.Add("b", 300).hybrid.balloon_wish = Bytes::MiB(300);
  Plan plan;
  DecideHybrid(host.snapshot, host.params, plan);
  EXPECT_TRUE(plan.actions.empty());
}

}  // namespace
}  // namespace ullage::policy
