// SPDX-License-Identifier: Apache-2.0
// Properties of hybrid reclaim over random hosts. A failure prints the seed of its host.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <tuple>

#include "node-agent/policy/hybrid_fixture.h"
#include "node-agent/policy/policy.h"

namespace ullage::policy {
namespace {

using Kind = Action::Kind;
constexpr int kHosts = 1500;
constexpr BootTime kNow = HybridHost::kStart;

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  std::int64_t Int(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  bool Chance(int percent) { return Int(0, 99) < percent; }
  std::optional<BootTime> Lately(int percent, std::int64_t most) {
    if (!Chance(percent)) return std::nullopt;
    return kNow - seconds(Int(0, most));
  }
  std::mt19937& random() { return random_; }

  void Says(VmState& vm) {
    vm.guest = {};
    if (Chance(70)) vm.guest.usable = Bytes::MiB(Int(0, 20000));
    if (Chance(70)) vm.guest.balloon = Bytes::MiB(Int(0, 20000));
    vm.guest_swapped_at = Lately(40, 120);
    vm.autodeflate.reset();
    if (Chance(90)) vm.autodeflate = Chance(70);
  }

  void Vm(HybridHost& host, int number) {
    const auto held = Int(0, 9000);
    VmState& vm = host.Add(("vm" + std::to_string(number)).c_str(), held);
    vm.spec.guest_memory = Bytes::MiB(Int(64, 8192));
    vm.promised = vm.spec.guest_memory + Bytes::MiB(Int(0, 200));
    vm.spec.shares = static_cast<std::uint32_t>(Chance(80) ? 1000 : Int(0, 5000));
    if (Chance(30)) vm.spec.min_memory = Bytes::MiB(Int(0, 9000));
    if (Chance(20)) vm.reclaimed = Bytes::MiB(64 * Int(1, 8));
    if (Chance(5)) vm.resident.reset();
    if (Chance(5)) vm.answered_at.reset();
    if (Chance(5)) vm.leaving = true;
    if (Chance(5)) vm.exempt = "huge pages";
    if (Chance(30)) vm.stays = "DisksNotLiveMigratable";
    vm.keeps_pod = !vm.stays.empty() && Chance(50);
    if (Chance(10)) vm.proof.balloon = false;
    if (Chance(40)) vm.working_set.cold = Bytes::MiB(Int(0, held));
    if (Chance(40)) vm.working_set.active = Permyriad{Int(0, 10000)};
    if (Chance(50)) vm.swapped = Bytes::MiB(Int(0, 4000));
    if (Chance(30)) vm.faults_a_minute = static_cast<std::uint64_t>(Int(0, 100000));
    if (Chance(20)) vm.pressure_some_avg10 = Permyriad{Int(0, 30)};
    Says(vm);
    if (Chance(30)) vm.spec.reclaim = Chance(70) ? Reclaim::kHints : Reclaim::kOff;
    if (vm.spec.reclaim != Reclaim::kHybrid) return;
    State(vm);
  }
  void State(VmState& vm) {
    HybridState& state = vm.hybrid;
    if (Chance(40)) state.balloon_wish = Bytes::MiB(Int(16, vm.spec.guest_memory.mib()));
    if (Chance(40)) state.held_at_step = Bytes::MiB(Int(0, 9000));
    state.stepped_at = Lately(40, 100);
    state.idle_steps = static_cast<std::uint32_t>(Int(0, 2));
    state.gave_up_at = Lately(20, 700);
    state.paged_at = Lately(30, 10);
    state.fetched_at = Lately(20, 70);
    state.turn_at = Lately(30, 60);
    state.held_at_turn = Bytes::MiB(Int(0, 9000));
    state.yielded_at = Lately(10, 700);
    if (Chance(20)) vm.leased = LeasedLimit{Bytes::MiB(Int(64, 9000)), {}, Chance(30)};
    if (Chance(20)) state.limit_wish = Bytes::MiB(Int(64, 9000));
    state.limited_at = Lately(50, 60);
  }
  HybridHost Host() {
    HybridHost host;
    for (int i = 0, n = static_cast<int>(Int(0, 12)); i < n; ++i) Vm(host, i);
    if (Chance(50)) host.OnKubernetes();
    host.left = Bytes::MiB(Int(-200, 1600));
    host.snapshot.carried.escalation.squeeze = static_cast<Squeeze>(Int(0, 4));
    if (Chance(20)) host.snapshot.host.swap_free = Bytes::MiB(Int(0, 20000));
    return host;
  }

 private:
  std::mt19937 random_;
};

template <typename Check>
void ForAllHosts(Check check) {
  for (unsigned seed = 0; seed < kHosts; ++seed) {
    Generator generator(seed);
    HybridHost host = generator.Host();
    SCOPED_TRACE("seed " + std::to_string(seed));
    check(generator, host);
    if (testing::Test::HasFailure()) return;
  }
}

std::size_t IndexOf(const Snapshot& snapshot, const VmId& id) {
  std::size_t i = 0;
  while (snapshot.vms[i].spec.id != id) ++i;
  return i;
}

using Plain = std::tuple<std::string, Kind, std::int64_t>;
std::vector<Plain> Sorted(const Plan& plan, const std::optional<VmId>& without = {}) {
  std::vector<Plain> all;
  for (const Action& action : plan.actions) {
    if (action.id != without) {
      all.emplace_back(action.id.value, action.kind, action.amount.count());
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST(HybridProperty, EveryTargetLiesBetweenTheFloorAndTheCeiling) {
  int seen = 0;
  ForAllHosts([&](Generator&, const HybridHost& host) {
    for (const Action& action : host.Decide(host.snapshot).actions) {
      const VmState& vm = host.snapshot.vms[IndexOf(host.snapshot, action.id)];
      const Bytes floor = FloorOf(vm, host.params.hybrid);
      const Bytes held = vm.resident.value_or(Bytes());
      ++seen;
      if (action.kind == Kind::kSetBalloon) {
        const Bytes before = vm.hybrid.balloon_wish.value_or(vm.spec.guest_memory);
        EXPECT_LE(action.amount, vm.spec.guest_memory);
        EXPECT_GE(action.amount, std::min(floor, before));
        EXPECT_GE(action.amount, std::min(before, held) -
                                     std::max(vm.spec.guest_memory * Permyriad{500}, Bytes::MiB(1)))
            << "a step is 5 %";
      } else if (action.kind == Kind::kPageOut) {
        EXPECT_LE(action.amount, held - floor);
        EXPECT_LE(action.amount, vm.working_set.cold.value_or(held));
      } else if (action.kind == Kind::kLimit) {
        EXPECT_GE(action.amount, held * Permyriad{10200});
        EXPECT_GE(action.amount, floor);
        EXPECT_LT(action.amount, std::max(vm.promised, vm.spec.guest_memory));
      } else if (action.kind == Kind::kFetch) {
        EXPECT_LE(action.amount, *vm.swapped);
      }
    }
  });
  EXPECT_GT(seen, kHosts) << "the generator makes hosts with something to do";
}

TEST(HybridProperty, ABalloonThatItsGuestCannotEmptyLeavesAFifthUsable) {
  int seen = 0;
  ForAllHosts([&](Generator&, const HybridHost& host) {
    for (const Action& action : host.Decide(host.snapshot).actions) {
      const VmState& vm = host.snapshot.vms[IndexOf(host.snapshot, action.id)];
      const Bytes before = vm.hybrid.balloon_wish.value_or(vm.spec.guest_memory);
      if (action.kind != Kind::kSetBalloon || action.amount >= before) continue;
      if (vm.autodeflate.value_or(false)) continue;
      ++seen;
      ASSERT_TRUE(vm.guest.usable) << "it has to say what it can do without";
      EXPECT_GE(*vm.guest.usable - (before - action.amount),
                vm.spec.guest_memory * Permyriad{2000});
    }
  });
  EXPECT_GT(seen, 30);
}

TEST(HybridProperty, ANeedyVmIsNeverShrunk) {
  int needy = 0;
  ForAllHosts([&](Generator&, const HybridHost& host) {
    const Plan plan = host.Decide(host.snapshot);
    for (const Action& action : plan.actions) {
      const std::size_t i = IndexOf(host.snapshot, action.id);
      if (!plan.hybrid[i].needy) continue;
      ++needy;
      EXPECT_NE(action.kind, Kind::kPageOut);
      EXPECT_NE(action.kind, Kind::kLimit) << "growing never lowers a limit";
      if (action.kind == Kind::kSetBalloon) {
        EXPECT_GE(action.amount, *host.snapshot.vms[i].hybrid.balloon_wish);
      }
    }
  });
  EXPECT_GT(needy, 100);
}

TEST(HybridProperty, WhatAGuestSaysChangesNobodyElse) {
  int differ = 0;
  ForAllHosts([&](Generator& generator, const HybridHost& host) {
    if (host.snapshot.vms.empty()) return;
    Snapshot lie = host.snapshot;
    VmState& liar = lie.vms[static_cast<std::size_t>(
        generator.Int(0, static_cast<std::int64_t>(lie.vms.size()) - 1))];
    generator.Says(liar);
    const Plan truth = host.Decide(host.snapshot);
    const Plan lied = host.Decide(lie);
    EXPECT_EQ(Sorted(truth, liar.spec.id), Sorted(lied, liar.spec.id));
    EXPECT_EQ(truth.squeeze, lied.squeeze);
    EXPECT_EQ(truth.capacity.published, lied.capacity.published);
    differ += Sorted(truth) != Sorted(lied) ? 1 : 0;
  });
  EXPECT_GT(differ, 10) << "what it says has a part at all";
}

TEST(HybridProperty, TheOrderOfVmsChangesNothing) {
  ForAllHosts([](Generator& generator, const HybridHost& host) {
    Snapshot shuffled = host.snapshot;
    std::shuffle(shuffled.vms.begin(), shuffled.vms.end(), generator.random());
    EXPECT_EQ(Sorted(host.Decide(host.snapshot)), Sorted(host.Decide(shuffled)));
  });
}

TEST(HybridProperty, WhoeverIsNotHybridIsOnlyAskedToGo) {
  int went = 0;
  int stayed = 0;
  ForAllHosts([&](Generator&, const HybridHost& host) {
    for (const Action& action : host.Decide(host.snapshot).actions) {
      const VmState& vm = host.snapshot.vms[IndexOf(host.snapshot, action.id)];
      EXPECT_TRUE(action.kind != Kind::kEvict || vm.reclaimed > Bytes());
      if (action.kind == Kind::kEvict || action.kind == Kind::kMigrate) {
        EXPECT_TRUE(host.snapshot.node.has_value());
        EXPECT_NE(vm.spec.reclaim, Reclaim::kOff);
        EXPECT_TRUE(vm.exempt.empty() && !vm.leaving);
        EXPECT_TRUE(action.kind == Kind::kEvict || vm.stays.empty()) << "it cannot migrate";
        EXPECT_FALSE(vm.keeps_pod) << "KubeVirt refuses both";
        went += vm.stays.empty() ? 1 : 0;
        stayed += vm.stays.empty() ? 0 : 1;
      } else {
        EXPECT_EQ(vm.spec.reclaim, Reclaim::kHybrid);
      }
    }
  });
  EXPECT_GT(went, 50);
  EXPECT_GT(stayed, 5) << "evicted, because they cannot migrate";
}

TEST(HybridProperty, SomebodyIsAskedOrItIsSaidWhyNobodyIs) {
  int said = 0;
  ForAllHosts([&](Generator&, const HybridHost& host) {
    const Plan plan = host.Decide(host.snapshot);
    const bool leaves = std::any_of(host.snapshot.vms.begin(), host.snapshot.vms.end(),
                                    [](const VmState& vm) { return vm.leaving; });
    const bool asked = std::any_of(plan.actions.begin(), plan.actions.end(), [](const Action& a) {
      return a.kind == Kind::kEvict || a.kind == Kind::kMigrate;
    });
    const bool should = plan.squeeze >= Squeeze::kLimit && host.snapshot.node && !leaves;
    EXPECT_EQ(!plan.nobody_goes.empty(), should && !asked);
    said += plan.nobody_goes.empty() ? 0 : 1;
  });
  EXPECT_GT(said, 10);
}

TEST(HybridProperty, AtMostOneGivesAndOneGoes) {
  ForAllHosts([](Generator&, const HybridHost& host) {
    const Plan plan = host.Decide(host.snapshot);
    if (plan.squeeze < Squeeze::kShrink) return;
    std::set<VmId> give;
    int go = 0;
    for (const Action& action : plan.actions) {
      const VmState& vm = host.snapshot.vms[IndexOf(host.snapshot, action.id)];
      const bool down = action.kind == Kind::kSetBalloon &&
                        action.amount < vm.hybrid.balloon_wish.value_or(vm.spec.guest_memory);
      if (down || action.kind == Kind::kPageOut) give.insert(action.id);
      go += action.kind == Kind::kEvict || action.kind == Kind::kMigrate ? 1 : 0;
    }
    EXPECT_LE(give.size(), 1u);
    EXPECT_LE(go, 1);
  });
}

// Guests that follow their balloons and do not use more; what they give is the host's again.
TEST(HybridProperty, ConstantDemandComesToRest) {
  for (unsigned seed = 0; seed < 25; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Generator generator(seed);
    HybridHost host;
    for (int i = 0; i < 5; ++i) {
      VmState& vm = host.Add(("vm" + std::to_string(i)).c_str(), generator.Int(300, 1000));
      vm.working_set.active = Permyriad{generator.Int(1000, 9000)};
      vm.working_set.cold = Bytes::MiB(generator.Int(0, 200));
      if (generator.Chance(20)) vm.pressure_some_avg10 = Permyriad{20};
      vm.hybrid.balloon_wish = Bytes::MiB(generator.Int(250, 1000));
    }
    host.left = Bytes::MiB(generator.Int(0, 1500));
    std::vector<HybridState> rested;
    for (int tick = 0; tick < 2400; ++tick) {
      host.Tick(seconds(2));
      for (const Action& action : host.plan.actions) {
        VmState& vm = host.vm(action.id.value.c_str());
        const Bytes before = *vm.resident;
        if (action.kind == Kind::kSetBalloon) vm.resident = std::min(before, action.amount);
        if (action.kind == Kind::kPageOut) *vm.resident -= action.amount;
        if (action.kind == Kind::kPageOut) *vm.working_set.cold -= action.amount;
        if (action.kind == Kind::kLimit) vm.leased = LeasedLimit{action.amount, {}, false};
        if (action.kind == Kind::kUnlimit) vm.leased.reset();
        host.left += before - *vm.resident;
      }
      if (tick < 2100) continue;
      for (const VmState& vm : host.snapshot.vms) {
        rested.push_back(vm.hybrid);
        const HybridState& first = rested[IndexOf(host.snapshot, vm.spec.id)];
        EXPECT_EQ(vm.hybrid.balloon_wish, first.balloon_wish) << vm.spec.id.value;
        EXPECT_EQ(vm.hybrid.limit_wish, first.limit_wish) << vm.spec.id.value;
      }
      if (HasFailure()) return;
    }
  }
}

TEST(HybridProperty, AMarkThatIsCrossedIsSeenInThatTick) {
  int crossed = 0;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    Generator generator(seed);
    HybridHost host = generator.Host();
    host.snapshot.node.reset();
    host.snapshot.vms_listed_at = kNow;
    host.snapshot.host.total = Bytes::MiB(generator.Int(1024, 65536));
    host.snapshot.host.available = Bytes::MiB(generator.Int(0, host.snapshot.host.total->mib()));
    host.snapshot.carried.additional = Bytes::GiB(1);
    host.snapshot.carried.escalation = {};
    const Plan plan = Policy().Decide(host.snapshot, PolicyParams{});
    const CapacityTerms& terms = *plan.capacity.terms;
    Bytes claims = terms.unsold;
    for (const VmState& vm : host.snapshot.vms) {
      claims += std::max(
          std::max(vm.promised, vm.spec.guest_memory) - vm.resident.value_or(Bytes()), Bytes());
    }
    if (terms.available >= terms.buffer || terms.available >= claims) continue;
    ++crossed;
    EXPECT_GE(plan.squeeze, Squeeze::kHold) << "seed " << seed;
    EXPECT_EQ(plan.capacity.additional, Bytes()) << "seed " << seed;
  }
  EXPECT_GT(crossed, 50);
}

}  // namespace
}  // namespace ullage::policy
