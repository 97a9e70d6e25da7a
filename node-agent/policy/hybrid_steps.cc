// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/hybrid_steps.h"

#include <algorithm>

#include "node-agent/model/human.h"
#include "node-agent/policy/capacity.h"

namespace ullage::policy {
namespace {

// A guest that follows its balloon shows it within 5 s (xapi's squeezed waits as long); a little
// less, so that a tick that comes early does not cost a whole period.
constexpr milliseconds kBalloonEvery{4500};
constexpr milliseconds kLastLook{3500};  // a tick sooner: who does not follow is known within 15 s
constexpr milliseconds kPageOutEvery{5500};  // Senpai: 6 s
constexpr std::uint32_t kIdleSteps = 3;
constexpr seconds kGaveUpFor{600};
constexpr seconds kYieldedFor{600};
constexpr seconds kSeries{60};  // an older step says nothing about the next
constexpr seconds kLimitComes{30};
constexpr seconds kGuestSwapped{60};
constexpr seconds kFetchEvery{60};
// What a guest says of itself is a few seconds old, and a program fills it within one: while it
// grows, nobody knows what a balloon may leave it.
constexpr seconds kGrewLately{10};
constexpr seconds kBoots{60};
constexpr Permyriad kGrows{50};
constexpr Bytes kLeast = Bytes::MiB(1);
constexpr Permyriad kBalloonStep{500};
constexpr Permyriad kHurry{500};         // of R a step, where the host is short
constexpr Permyriad kGently{100};        // at least, where only others are needy
constexpr Permyriad kLimitRoom{10200};   // of R
constexpr Permyriad kLimitLower{9800};   // a limit follows R down when it falls below this
constexpr Permyriad kSwapReserve{1000};  // of all swap: for those who are not asked
constexpr Permyriad kGuestReserve{500};  // of its memory, that a balloon leaves usable
constexpr Permyriad kGuestShort{250};    // below which it gets some of its balloon back
// A guest that takes nothing back by itself kills a process when it needs memory sooner than its
// next word comes. MOM, which knows no autodeflate either, leaves 20 % (oVirt, doc/balloon.rules).
constexpr Permyriad kStiffReserve{2000};
constexpr Permyriad kStiffShort{1000};
constexpr Permyriad kRelief{1000};  // of its memory, at once

bool GivesWay(const VmState& vm) { return vm.autodeflate.value_or(false); }

// The balloon's wish is kept apart from "all": absent says that nothing is asked of the guest.
void Wish(HybridState& state, const VmState& vm, Bytes leave) {
  if (leave >= vm.spec.guest_memory) {
    state.balloon_wish.reset();
  } else {
    state.balloon_wish = leave;
  }
}

}  // namespace

HybridSteps::HybridSteps(const Snapshot& snapshot, const HybridParams& rules, Plan& plan)
    : rules_(rules), plan_(plan), now_(snapshot.at.boot) {
  if (!snapshot.host.swap_free) return;
  const Bytes reserve = snapshot.host.swap_total.value_or(Bytes()) * kSwapReserve;
  swap_left_ = std::max(*snapshot.host.swap_free - reserve, Bytes());
}

void HybridSteps::Add(Action::Kind kind, const Seat& seat, Bytes amount, const std::string& why) {
  Action action{kind, seat.vm->spec.id, why};
  action.amount = amount;
  plan_.actions.push_back(std::move(action));
  *seat.says = why;
}

void HybridSteps::Upkeep(Seat& seat) const {
  HybridState& state = *seat.state;
  const VmState& vm = *seat.vm;
  if (vm.leased && vm.leased->yielded) {
    state.limit_wish.reset();
    if (!state.yielded_at) state.yielded_at = now_;
  }
  if (state.limit_wish && !vm.leased && !Within(state.limited_at, now_, kLimitComes)) {
    state.limit_wish.reset();
  }
  const Bytes noise = std::max(vm.spec.guest_memory * kGrows, kLeast);
  const Bytes held = HeldOf(vm);
  if (!state.held_last || held > *state.held_last + noise) state.grew_at = now_;
  state.held_last = held;
}

HybridSteps::Balloon HybridSteps::JudgeBalloon(Seat& seat) {
  HybridState& state = *seat.state;
  if (!seat.vm->proof.balloon.value_or(false)) return Balloon::kNo;
  if (Within(state.gave_up_at, now_, kGaveUpFor)) return Balloon::kNo;
  if (Within(state.grew_at, now_, kGrewLately)) return Balloon::kNo;
  const bool series = !state.gave_up_at && Within(state.stepped_at, now_, kSeries);
  state.gave_up_at.reset();
  if (!series) {
    state.idle_steps = 0;
    state.held_at_step.reset();
    return Balloon::kStep;
  }
  const bool last = state.idle_steps + 1 >= kIdleSteps;
  if (Within(state.stepped_at, now_, last ? kLastLook : kBalloonEvery)) return Balloon::kWait;
  if (!state.held_at_step) return Balloon::kStep;
  const Bytes progress = std::max(seat.vm->spec.guest_memory * Permyriad{50}, kLeast);
  // Memory that went to swap meanwhile is not the guest's doing.
  const bool fell = HeldOf(*seat.vm) + progress <= *state.held_at_step;
  state.idle_steps = fell ? 0 : state.idle_steps + 1;
  if (state.idle_steps < kIdleSteps) return Balloon::kStep;
  GiveUpBalloon(seat);
  return Balloon::kNo;
}

// What the guest did not give it keeps for good: a balloon that filled later, while its memory is
// taken in another way, would take it twice.
void HybridSteps::GiveUpBalloon(Seat& seat) {
  HybridState& state = *seat.state;
  state.gave_up_at = now_;
  state.idle_steps = 0;
  state.held_at_step.reset();
  const Bytes all = seat.vm->spec.guest_memory;
  const Bytes held = *seat.vm->resident - std::max(seat.vm->promised - all, Bytes());
  const Bytes leave = Clamp(held, state.balloon_wish.value_or(all), all);
  if (!state.balloon_wish || leave == *state.balloon_wish) return;
  Wish(state, *seat.vm, leave);
  Add(Action::Kind::kSetBalloon, seat, leave,
      "its balloon made no progress in " + std::to_string(kIdleSteps) +
          " steps: it is left alone for 10 minutes");
}

HybridSteps::Step HybridSteps::StepBalloon(Seat& seat, Bytes wanted) {
  HybridState& state = *seat.state;
  const VmState& vm = *seat.vm;
  const Bytes all = vm.spec.guest_memory;
  const Bytes left = state.balloon_wish.value_or(all);
  // What the guest does not hold gives nothing: the first step begins at what it holds.
  const Bytes base = std::min(left, *vm.resident);
  const Bytes step = std::min(std::max(all * kBalloonStep, kLeast), wanted);
  Bytes leave = std::max(base - step, seat.floor);
  if (leave + kLeast > base) {
    // It should hold no more than its floor. Judged like a step: after three it counts as given up.
    state.stepped_at = now_;
    state.held_at_step = HeldOf(vm);
    return Step::kWaits;
  }
  // Nobody else knows what it can do without, and one that boots does not say yet.
  if (!vm.guest.usable && Within(vm.watched_since, now_, kBoots)) return Step::kWaits;
  if (!vm.guest.usable && !GivesWay(vm)) {
    *seat.says =
        "its balloon is not filled: its guest takes nothing back from it by itself (no "
        "autodeflate), and does not say what is usable";
    return Step::kWaits;
  }
  if (vm.guest.usable) {
    const Permyriad reserve = GivesWay(vm) ? kGuestReserve : kStiffReserve;
    const Bytes usable = std::max(*vm.guest.usable - all * reserve, Bytes());
    if (usable < left - leave) leave = left - usable;
    if (leave + kLeast > base) return Step::kWaits;
  }
  Wish(state, vm, leave);
  state.stepped_at = now_;
  state.held_at_step = HeldOf(vm);
  Add(Action::Kind::kSetBalloon, seat, leave,
      "its balloon leaves it " + InMiB(leave) + ": it holds " + InMiB(*vm.resident) +
          ", and of hybrid VMs its memory is of the least value");
  return Step::kTaken;
}

// What paging out could take now; counted as used even where it is then held back, so that no
// guest's word moves another's share.
Bytes HybridSteps::Reserve(const Seat& seat, Bytes most, Permyriad share) {
  const VmState& vm = *seat.vm;
  Bytes amount = std::min({std::max(*vm.resident * share, kLeast), most, seat.surplus});
  if (vm.working_set.cold) amount = std::min(amount, *vm.working_set.cold);
  if (vm.swap_limit) amount = std::min(amount, *vm.swap_limit - vm.swapped.value_or(Bytes()));
  amount = std::max(std::min(amount, swap_left_), Bytes());
  if (amount < kLeast) return {};
  swap_left_ -= amount;
  return amount;
}

HybridSteps::Step HybridSteps::PageOut(Seat& seat, Bytes amount, milliseconds every, bool hurry) {
  HybridState& state = *seat.state;
  if (Within(state.paged_at, now_, every)) return Step::kWaits;
  if (amount == Bytes()) return Step::kStuck;
  // Both would swap the same pages. Where the host is short only up to its share: what a guest says
  // of its swap must not keep more than that.
  const bool swaps = Within(seat.vm->guest_swapped_at, now_, kGuestSwapped);
  if (swaps && (!hurry || *seat.vm->resident <= seat.entitled)) {
    *seat.says = "its guest swaps by itself: the host takes nothing meanwhile";
    return Step::kWaits;
  }
  state.paged_at = now_;
  Add(Action::Kind::kPageOut, seat, amount,
      InMiB(amount) + " of its cold memory go to swap: it holds " + InMiB(*seat.vm->resident) +
          ", its floor is " + InMiB(seat.floor));
  return Step::kTaken;
}

HybridSteps::Step HybridSteps::Shrink(Seat& seat, Bytes wanted, bool hurry) {
  if (!seat.acts || seat.needy || seat.surplus < kLeast || wanted < kLeast) return Step::kStuck;
  const Permyriad share = hurry ? kHurry : std::max(rules_.page_out, kGently);
  const Bytes amount = Reserve(seat, wanted, share);
  Step balloon = Step::kStuck;
  switch (JudgeBalloon(seat)) {
    case Balloon::kWait:
      *seat.says = "its balloon was set a moment ago: its guest has 5 s to follow";
      return Step::kWaits;
    case Balloon::kStep:
      balloon = StepBalloon(seat, wanted);
      if (balloon == Step::kTaken) return balloon;
      break;
    case Balloon::kNo:
      break;
  }
  const Step paged = PageOut(seat, amount, hurry ? kBalloonEvery : kPageOutEvery, hurry);
  return paged == Step::kStuck ? balloon : paged;
}

void HybridSteps::PageOutCold(Seat& seat) {
  const VmState& vm = *seat.vm;
  if (!seat.acts || seat.needy || rules_.page_out <= Permyriad{0}) return;
  if (!vm.faults_a_minute || Within(seat.state->woke_at, now_, kSeries)) return;
  // Where a probe looks its word is waited for. Without one the kernel chooses, and what is missed
  // afterwards says whether it chose well.
  if (!vm.working_set.cold && !vm.working_set.probe.empty()) return;
  const Bytes most = vm.working_set.cold.value_or(seat.surplus);
  PageOut(seat, Reserve(seat, most, rules_.page_out), kPageOutEvery, false);
}

void HybridSteps::Limit(Seat& seat) {
  HybridState& state = *seat.state;
  const VmState& vm = *seat.vm;
  if (!seat.acts || seat.needy || Within(state.yielded_at, now_, kYieldedFor)) return;
  const Bytes limit = std::max((*vm.resident * kLimitRoom).CeilTo(kLeast), seat.floor);
  const Bytes growth = CeilingOf(vm) - limit;
  if (state.limit_wish && limit >= *state.limit_wish * kLimitLower) return;
  // What it wants beyond has to have somewhere to go: v1's limit kills without swap.
  if (growth <= Bytes() || growth > swap_left_) return;
  swap_left_ -= growth;
  state.limit_wish = limit;
  state.limited_at = now_;
  state.yielded_at.reset();
  Add(Action::Kind::kLimit, seat, limit,
      "it may grow to " + InMiB(limit) + ": it holds " + InMiB(*vm.resident) +
          ", and the host is about to run out");
}

bool HybridSteps::Unlimit(Seat& seat, const std::string& why) {
  const auto& leased = seat.vm->leased;
  if (!seat.state->limit_wish && (!leased || leased->yielded)) return false;
  seat.state->limit_wish.reset();
  Add(Action::Kind::kUnlimit, seat, {}, "its limit is lifted: " + why);
  return true;
}

Bytes HybridSteps::Fetch(Seat& seat, Bytes most) {
  const Bytes amount = std::min(seat.vm->swapped.value_or(Bytes()), most);
  if (amount < kLeast || Within(seat.state->fetched_at, now_, kFetchEvery)) return {};
  seat.state->fetched_at = now_;
  Add(Action::Kind::kFetch, seat, amount,
      InMiB(amount) + " of what it has in swap are fetched ahead: it woke");
  return amount;
}

void HybridSteps::Deflate(Seat& seat, Bytes most, const std::string& why) {
  HybridState& state = *seat.state;
  if (!state.balloon_wish || most < kLeast) return;
  const Bytes leave = std::min(*state.balloon_wish + most, seat.vm->spec.guest_memory);
  Wish(state, *seat.vm, leave);
  state.stepped_at = now_;
  state.held_at_step.reset();
  state.idle_steps = 0;
  Add(Action::Kind::kSetBalloon, seat, leave, "its balloon leaves it " + InMiB(leave) + ": " + why);
}

void HybridSteps::Relieve(Seat& seat) {
  const VmState& vm = *seat.vm;
  const Bytes all = vm.spec.guest_memory;
  const Permyriad least = GivesWay(vm) ? kGuestShort : kStiffShort;
  if (!seat.acts || !vm.guest.usable || *vm.guest.usable >= all * least) return;
  Deflate(seat, std::max(all * kRelief, kLeast), "its guest says that it runs out");
}

void HybridSteps::DeflateAtRest(Seat& seat, Bytes spare) {
  // A step that filled it is no reason to wait: growing is never delayed.
  const bool emptied = !seat.state->held_at_step;
  if (!seat.acts || (emptied && Within(seat.state->stepped_at, now_, kBalloonEvery))) return;
  Deflate(seat, std::max({seat.vm->spec.guest_memory * kBalloonStep, spare, kLeast}),
          "the host has enough again");
}

void HybridSteps::Release(Seat& seat, const std::string& why) {
  Unlimit(seat, why);
  if (seat.state->balloon_wish) Deflate(seat, seat.vm->spec.guest_memory, why);
}

}  // namespace ullage::policy
