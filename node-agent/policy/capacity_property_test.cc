// SPDX-License-Identifier: Apache-2.0
// Properties of the capacity sum over random nodes. A failure prints the seed of its node.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "node-agent/policy/capacity.h"

namespace ullage::policy {
namespace {

constexpr BootTime kNow{std::chrono::hours(1)};
constexpr int kNodes = 2000;

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  std::int64_t Int(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  bool Chance(int percent) { return Int(0, 99) < percent; }

  VmState Vm(int number) {
    VmState vm;
    vm.spec.id.value = "vm" + std::to_string(number);
    vm.promised = Bytes::MiB(Int(64, 16384));
    vm.reclaimed = Chance(20) ? Bytes::MiB(64 * Int(1, 8)) : Bytes();
    vm.ordinary = std::max(vm.promised - vm.reclaimed, Bytes());
    if (Chance(90)) vm.resident = Bytes::MiB(Int(0, 20000));
    if (Chance(90)) vm.answered_at = kNow - seconds(Int(0, 40));
    if (Chance(90)) vm.watched_since = kNow - seconds(Int(0, 3600));
    if (Chance(10)) vm.spec.reclaim = Reclaim::kOff;
    vm.bound_only = Chance(5);
    if (Chance(60)) vm.peak = Bytes::MiB(Int(0, 20000));
    if (Chance(30)) vm.swapped = Bytes::MiB(Int(0, 4000));
    if (Chance(20)) vm.swap_limit = Bytes::MiB(Int(0, 4000));
    if (Chance(30)) vm.spec.reclaim = Reclaim::kHybrid;
    if (Chance(50))
      vm.working_set = {Bytes::MiB(Int(0, 8000)), {}, kNow - seconds(Int(0, 900)), "", ""};
    vm.guest.usable = Bytes(Int(0, std::numeric_limits<std::int64_t>::max()));
    return vm;
  }
  Snapshot Node() {
    Snapshot snapshot;
    snapshot.at.boot = kNow;
    snapshot.vms_listed_at = kNow;
    snapshot.host.total = Bytes::MiB(Int(1024, 262144));
    snapshot.host.available = Bytes::MiB(Int(0, snapshot.host.total->mib()));
    if (Chance(60)) snapshot.host.swap_free = Bytes::MiB(Int(0, 65536));
    if (Chance(80)) snapshot.host.pressure_some_avg10 = Permyriad{Int(0, 20)};
    snapshot.carried.additional = Bytes::MiB(64 * Int(0, 100));
    for (int i = 0, n = static_cast<int>(Int(0, 30)); i < n; ++i) snapshot.vms.push_back(Vm(i));
    return snapshot;
  }
  Forecast Knows(const Snapshot& node) {
    Forecast forecast;
    for (std::size_t i = 0; i < node.vms.size(); ++i) {
      forecast.vms.push_back({.observed = seconds(Int(0, 100000)),
                              .growth = Permyriad{Int(0, 11500)},
                              .reclaimed = Bytes::MiB(Int(0, 8192))});
    }
    forecast.together = {.observed = seconds(Int(0, 100000)),
                         .rise = Permyriad{Int(0, 3000)},
                         .high = Permyriad{Int(0, 10000)}};
    return forecast;
  }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_;
};

Bytes C(const Snapshot& snapshot, const Forecast& forecast = {}) {
  PolicyParams params;
  params.rise_delay = seconds(0);
  params.rise_step = Permyriad{10000};
  params.dead_band = Permyriad{0};
  return Decide(snapshot, params, forecast).capacity.additional;
}

template <typename Check>
void ForAllNodes(Check check) {
  for (unsigned seed = 0; seed < kNodes; ++seed) {
    Generator generator(seed);
    Snapshot node = generator.Node();
    SCOPED_TRACE("seed " + std::to_string(seed));
    check(generator, node);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(CapacityProperty, StaysBetweenZeroAndTheCap) {
  bool some = false;
  ForAllNodes([&](Generator&, const Snapshot& node) {
    const Plan plan = Decide(node, PolicyParams{});
    const Bytes c = C(node);
    EXPECT_GE(c, Bytes());
    EXPECT_LE(c, std::max(plan.capacity.terms->cap, Bytes()));
    EXPECT_EQ(c.FloorTo(Bytes::MiB(64)), c);
    EXPECT_GE(plan.capacity.published, plan.capacity.granted);
    some = some || c > Bytes();
  });
  EXPECT_TRUE(some) << "the generator makes nodes with capacity";
}

TEST(CapacityProperty, ARestartYieldsNoMoreThanWasSafeBeforeOrIsNow) {
  bool some = false;
  ForAllNodes([&](Generator& generator, const Snapshot& node) {
    Snapshot restarted = node;
    restarted.carried = {};
    const Bytes had = Bytes::MiB(64 * generator.Int(0, 2000));
    restarted.carried.inherited = Inherited{had, Bytes::GiB(1000), kNow + seconds(100), {}};
    const Bytes c = Decide(restarted, PolicyParams{}).capacity.additional;
    EXPECT_EQ(c, std::min(had, C(node)));
    some = some || c > Bytes();
  });
  EXPECT_TRUE(some);
}

TEST(CapacityProperty, LessAvailableNeverRaisesIt) {
  ForAllNodes([](Generator& generator, const Snapshot& node) {
    Snapshot worse = node;
    worse.host.available = Bytes(generator.Int(0, node.host.available->count()));
    EXPECT_LE(C(worse), C(node));
    const Forecast forecast = generator.Knows(node);
    EXPECT_LE(C(worse, forecast), C(node, forecast));
  });
}

TEST(CapacityProperty, AMissingInputNeverRaisesIt) {
  ForAllNodes([](Generator& generator, const Snapshot& node) {
    if (node.vms.empty()) return;
    Snapshot blind = node;
    VmState& vm = blind.vms[static_cast<std::size_t>(
        generator.Int(0, static_cast<std::int64_t>(node.vms.size()) - 1))];
    switch (generator.Int(0, 9)) {
      case 4:
        vm.peak.reset();
        break;
      case 5:
        blind.host.swap_free.reset();
        break;
      case 6:
        blind.host.pressure_some_avg10.reset();
        break;
      case 7:
        vm.working_set = {};
        break;
      case 8:
        vm.swapped.reset();
        break;
      case 0:
        vm.resident.reset();
        break;
      case 1:
        vm.answered_at.reset();
        break;
      case 3:
        vm.watched_since.reset();
        break;
      case 2:
        blind.host.available.reset();
        break;
      default:
        blind.vms_listed_at.reset();
        break;
    }
    EXPECT_LE(C(blind), C(node));
    const Forecast forecast = generator.Knows(node);
    EXPECT_LE(C(blind, forecast), C(node, forecast));
  });
}

TEST(CapacityProperty, MoreGrowthOrAWiderBufferNeverRaisesIt) {
  PolicyParams params;
  params.rise_delay = seconds(0);
  params.rise_step = Permyriad{10000};
  ForAllNodes([&](Generator& generator, const Snapshot& node) {
    const Forecast forecast = generator.Knows(node);
    Forecast worse = forecast;
    worse.together.observed -= std::min(worse.together.observed, seconds(generator.Int(0, 100000)));
    worse.together.rise.value += generator.Int(0, 5000);
    worse.together.high.value += generator.Int(0, 5000);
    for (Outlook& vm : worse.vms) {
      vm.growth.value += generator.Int(0, 5000);
      vm.observed -= std::min(vm.observed, seconds(generator.Int(0, 100000)));
      vm.reclaimed = vm.reclaimed * Permyriad{generator.Int(0, 10000)};
    }
    worse.audit.width = static_cast<double>(generator.Int(0, 3));
    EXPECT_LE(Decide(node, params, worse).capacity.additional,
              Decide(node, params, forecast).capacity.additional);
  });
}

// Of what all are believed to claim, each has its part: never more than it does not hold, and
// together no more than the largest of what each would claim by itself and what they lack to their
// high.
TEST(CapacityProperty, TheSumOfVmsLiesBetweenNothingAndAllTheyDoNotHold) {
  bool less = false;
  bool more = false;
  ForAllNodes([&](Generator& generator, const Snapshot& node) {
    Forecast forecast = generator.Knows(node);
    const Plan plan = Decide(node, PolicyParams{}, forecast);
    Bytes parts, held, ceilings;
    for (std::size_t i = 0; i < node.vms.size(); ++i) {
      EXPECT_GE(plan.vms[i].growth, Bytes());
      EXPECT_LE(plan.vms[i].growth, RestOf(node.vms[i]));
      parts += plan.vms[i].growth;
      ceilings += CeilingOf(node.vms[i]);
      held += node.vms[i].resident.value_or(Bytes());
    }
    const Bytes growth = plan.capacity.terms->growth;
    EXPECT_LE(parts, growth);
    EXPECT_LE(growth - parts, Bytes(static_cast<std::int64_t>(node.vms.size())));
    forecast.together = {};
    const Bytes apart = Decide(node, PolicyParams{}, forecast).capacity.terms->growth;
    EXPECT_LE(growth, apart + ceilings) << "only by what they held before";
    less = less || growth < apart;
    more = more || growth > apart;
    forecast.together.observed = seconds(86400);
    EXPECT_LE(Decide(node, PolicyParams{}, forecast).capacity.terms->growth, apart)
        << "who never held more together is never counted with more than each by itself";
  });
  EXPECT_TRUE(less && more);
}

// What is taken from one term is in no other: A falls by what a VM takes, and its claims fall.
TEST(CapacityProperty, EveryByteIsCountedOnce) {
  ForAllNodes([](Generator& generator, const Snapshot& node) {
    if (node.vms.empty()) return;
    Snapshot after = node;
    VmState& vm = after.vms[static_cast<std::size_t>(
        generator.Int(0, static_cast<std::int64_t>(node.vms.size()) - 1))];
    if (!vm.resident || vm.bound_only) return;
    const Bytes held = *vm.resident + vm.swapped.value_or(Bytes());
    const Bytes room = std::max(CeilingOf(vm) - held, Bytes());
    const Bytes taken = Bytes(generator.Int(0, std::min(room, *node.host.available).count()));
    *vm.resident += taken;
    *after.host.available -= taken;
    const Forecast forecast = generator.Knows(node);
    const CapacityTerms then = *Decide(node, PolicyParams{}, forecast).capacity.terms;
    const CapacityTerms now = *Decide(after, PolicyParams{}, forecast).capacity.terms;
    EXPECT_EQ(now.bound_full + now.buffer, then.bound_full + then.buffer)
        << "what it claims of its promise was kept for it";
    EXPECT_LE(now.bound + now.buffer - now.recoverable, then.bound + then.buffer - then.recoverable)
        << "and never frees anything, but for what may be swapped out";
  });
}

TEST(CapacityProperty, WhatAGuestSaysChangesNothing) {
  ForAllNodes([](Generator& generator, const Snapshot& node) {
    Snapshot lie = node;
    for (VmState& vm : lie.vms) {
      vm.guest = {};
      vm.guest.unused = Bytes(generator.Int(0, std::numeric_limits<std::int64_t>::max()));
      vm.guest.balloon = Bytes(0);
      vm.module.emplace().reported =
          Bytes(generator.Int(0, std::numeric_limits<std::int64_t>::max()));
      vm.module->reporting = generator.Chance(50);
      vm.module->balloon = Bytes::Max();
    }
    EXPECT_EQ(C(lie), C(node));
  });
}

TEST(CapacityProperty, TheOrderOfVmsChangesNothing) {
  ForAllNodes([](Generator& generator, const Snapshot& node) {
    Snapshot shuffled = node;
    std::shuffle(shuffled.vms.begin(), shuffled.vms.end(), generator.random());
    EXPECT_EQ(C(shuffled), C(node));
  });
}

TEST(CapacityProperty, ConstantInputSettlesAtOnce) {
  ForAllNodes([](Generator&, Snapshot node) {
    PolicyParams params;
    params.rise_delay = seconds(0);
    params.rise_step = Permyriad{10000};
    const Plan first = Decide(node, params);
    node.carried = first.carry;
    EXPECT_EQ(Decide(node, params).capacity.published, first.capacity.published);
  });
}

TEST(CapacityProperty, AnAdmittedVmTakesWhatItWasGiven) {
  ForAllNodes([](Generator& generator, Snapshot node) {
    PolicyParams params;
    params.rise_delay = seconds(0);
    params.rise_step = Permyriad{10000};
    const Plan before = Decide(node, params);
    VmSpec spec;
    spec.id.value = "new";
    spec.guest_memory = Bytes::MiB(generator.Int(64, 8192));
    spec.placement = generator.Chance(50) ? Placement::kReclaimed : Placement::kStandard;
    const Verdict verdict =
        Admit({true, before.capacity.unsold, before.capacity.additional}, spec, params);
    if (!verdict.admitted) return;
    VmState vm;
    vm.spec = spec;
    vm.bound_only = true;
    vm.promised = verdict.promised;
    vm.ordinary = verdict.ordinary;
    vm.reclaimed = verdict.reclaimed;
    node.vms.push_back(vm);
    node.carried = before.carry;
    const Plan after = Decide(node, params);
    EXPECT_LE(after.capacity.published, before.capacity.published) << "a bind never raises it";
    EXPECT_LE(after.capacity.unsold + verdict.ordinary, before.capacity.unsold);
  });
}

}  // namespace
}  // namespace ullage::policy
