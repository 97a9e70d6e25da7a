// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/hybrid.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "node-agent/model/human.h"
#include "node-agent/policy/capacity.h"
#include "node-agent/policy/escalation.h"
#include "node-agent/policy/hybrid_steps.h"

namespace ullage::policy {
namespace {

constexpr Bytes kLeast = Bytes::MiB(1);
constexpr Bytes kPage = Bytes::KiB(4);
constexpr std::int64_t kMinute = 60000;      // ms, over which faults are averaged
constexpr std::uint64_t kBurst = 20;         // times the mark: counts without an average …
constexpr std::uint64_t kLeastBurst = 6000;  // … from so many pages a minute
constexpr seconds kFruitless{300};  // whoever gave nothing in its turn lets others go first
constexpr Bytes kFirstHelp = Bytes::MiB(256);
constexpr Permyriad kHelp{1000};  // of the guest's memory, where that is more

// What a needy VM is helped with in one tick.
Bytes Help(const VmState& vm) {
  return std::min(std::max(kFirstHelp, vm.spec.guest_memory * kHelp), RestOf(vm));
}

// Does it miss more than `times` the allowed share of its working set a minute?
bool Misses(const VmState& vm, std::uint64_t pages, std::uint64_t times,
            const HybridParams& rules) {
  const auto missed = static_cast<Wide>(pages) * kPage.count();
  const Bytes allowed = WorkingSetOf(vm) * rules.refaults;
  return pages > 0 && missed > static_cast<Wide>(allowed.count()) * static_cast<Wide>(times);
}

// A burst of faults: it wants back what it has not used for long.
bool Wakes(const VmState& vm, const HybridParams& rules) {
  const std::uint64_t pages = vm.faults_a_minute.value_or(0);
  return pages >= kLeastBurst && Misses(vm, pages, kBurst, rules);
}

void Average(const VmState& vm, HybridState& state, BootTime now) {
  const auto apart = state.missed_at
                         ? std::chrono::duration_cast<milliseconds>(now - *state.missed_at).count()
                         : 0;
  state.missed_at = now;
  constexpr Wide kMost = std::numeric_limits<std::int64_t>::max();
  const auto then = static_cast<Wide>(state.missed_milli);
  const auto seen = std::min(static_cast<Wide>(vm.faults_a_minute.value_or(0)) * 1000, kMost);
  const Wide share = std::clamp<std::int64_t>(apart, 0, kMinute);
  // The rate of a shorter time is that of a whole second.
  const Wide over = share > 0 ? std::max<Wide>(share, 1000) : 0;
  const Wide average = then + (seen * over - then * share) / kMinute;
  state.missed_milli = static_cast<std::uint64_t>(std::min(average, kMost));
}

// Why a hybrid VM is only looked at for now; empty: it is not.
std::string WhyWait(const VmState& vm, const Snapshot& snapshot, const PolicyParams& params) {
  if (vm.bound_only) return "no QEMU was seen yet";
  if (vm.run != Run::kRunning) return "it is not running";
  if (!vm.resident) return "what it holds is unknown";
  const bool fresh = vm.answered_at && snapshot.at.boot - *vm.answered_at <= params.stale_after;
  if (vm.stalled || !fresh) return "its QEMU does not answer";
  return "";
}

class Hybrid {
 public:
  Hybrid(const Snapshot& snapshot, const PolicyParams& params, Plan& plan)
      : snapshot_(snapshot),
        params_(params),
        rules_(params.hybrid),
        plan_(plan),
        steps_(snapshot, params.hybrid, plan),
        now_(snapshot.at.boot) {}

  void Decide() {
    SitDown();
    Entitle();
    const Bytes demand = Serve();
    if (!plan_.capacity.terms) return;  // what the host has left is unknown: nobody gives
    const CapacityTerms& terms = *plan_.capacity.terms;
    if (plan_.squeeze >= Squeeze::kShrink) {
      TakeTurns(terms.buffer * rules_.hold_below - terms.available);
      return;
    }
    for (Seat& seat : seats_) {
      if (!seat.needy) steps_.Unlimit(seat, "the host has enough again");
    }
    const Bytes missing = terms.buffer + demand - terms.available;
    if (demand > Bytes() && missing >= kLeast) {
      Draw(missing);
    } else {
      Rest();
    }
  }

 private:
  void SitDown();
  void Entitle();
  Bytes Serve();
  void TakeTurns(Bytes wanted);
  void Draw(Bytes missing);
  void Rest();

  const Snapshot& snapshot_;
  const PolicyParams& params_;
  const HybridParams& rules_;
  Plan& plan_;
  HybridSteps steps_;
  const BootTime now_;
  std::vector<Seat> seats_;  // the hybrid VMs; who gives first stands first
};

void Hybrid::SitDown() {
  for (std::size_t i = 0; i < snapshot_.vms.size(); ++i) {
    const VmState& vm = snapshot_.vms[i];
    Seat seat;
    seat.vm = &vm;
    seat.state = &plan_.hybrid[i];
    seat.says = &plan_.vms[i].hybrid;
    Average(vm, *seat.state, now_);
    const std::string needs = WhyNeedy(vm, *seat.state, rules_);
    seat.needy = !needs.empty();
    if (seat.needy && !seat.state->needy) seat.state->woke_at = now_;
    seat.state->needy = seat.needy;
    const bool alone = vm.spec.reclaim != Reclaim::kHybrid || !vm.exempt.empty();
    if (alone || vm.leaving) {
      steps_.Release(seat, alone ? "it is left alone" : "it migrates away");
      continue;
    }
    seat.floor = FloorOf(vm, rules_);
    seat.surplus = std::max(vm.resident.value_or(Bytes()) - seat.floor, Bytes());
    const std::string waits = WhyWait(vm, snapshot_, params_);
    seat.acts = waits.empty();
    *seat.says = !waits.empty() ? waits + ": nothing is done"
                 : seat.needy   ? needs
                 : seat.surplus < kLeast
                     ? "it holds no more than its floor, " + InMiB(seat.floor)
                     : "nothing is asked of it; its floor is " + InMiB(seat.floor);
    if (seat.acts) steps_.Upkeep(seat);
    if (!seat.needy) steps_.Relieve(seat);
    seats_.push_back(seat);
  }
  std::sort(seats_.begin(), seats_.end(),
            [](const Seat& a, const Seat& b) { return GivesFirst(*a.vm, *b.vm); });
}

// What the hybrid VMs hold, shared out by their shares.
void Hybrid::Entitle() {
  Wide held = 0;
  Wide shares = 0;
  for (const Seat& seat : seats_) {
    held += std::max(seat.vm->resident.value_or(Bytes()), Bytes()).count();
    shares += std::max<std::uint32_t>(seat.vm->spec.shares, 1);
  }
  for (Seat& seat : seats_) {
    const Wide part = held * std::max<std::uint32_t>(seat.vm->spec.shares, 1) / shares;
    const Wide most = Bytes::Max().count();
    seat.entitled = std::max(Bytes(static_cast<std::int64_t>(std::min(part, most))), seat.floor);
  }
}

// The needy, by rank and by how far they may grow; the buffer is there for them, down to the mark
// below which VMs are limited. Returns what they may come to take next.
Bytes Hybrid::Serve() {
  std::vector<Seat*> needy;
  for (Seat& seat : seats_) {
    if (seat.needy) needy.push_back(&seat);
  }
  std::sort(needy.begin(), needy.end(), [](const Seat* a, const Seat* b) {
    return std::tuple(b->vm->spec.shares, RestOf(*b->vm), a->vm->spec.id) <
           std::tuple(a->vm->spec.shares, RestOf(*a->vm), b->vm->spec.id);
  });
  Bytes spare;
  if (plan_.capacity.terms) {
    const CapacityTerms& terms = *plan_.capacity.terms;
    spare = std::max(terms.available - terms.buffer * rules_.limit_below, Bytes());
  }
  Bytes demand;
  for (Seat* seat : needy) {
    const std::string why = *seat->says;
    // First the limit, and once it is gone the rest: a balloon that empties below a limit swaps.
    const bool limited = steps_.Unlimit(*seat, why);
    if (!seat->acts) continue;
    const Bytes help = Help(*seat->vm);
    demand += help;
    if (limited) continue;
    if (Wakes(*seat->vm, rules_)) spare -= steps_.Fetch(*seat, spare);
    const Bytes given = std::min(help, spare);
    spare -= given;
    steps_.Deflate(*seat, given, why);
  }
  return demand;
}

// One gives at a time: the one whose turn it is, then the one of the least value.
void Hybrid::TakeTurns(Bytes wanted) {
  const auto gives = [](const Seat& seat) {
    return seat.acts && !seat.needy && seat.surplus >= kLeast;
  };
  const auto fruitless = [&](const Seat& seat) {
    const HybridState& state = *seat.state;
    return state.turn_at && now_ - *state.turn_at < kFruitless && state.held_at_turn &&
           *seat.vm->resident > *state.held_at_turn * Permyriad{9900};
  };
  std::vector<Seat*> line;
  for (Seat& seat : seats_) {
    if (gives(seat)) line.push_back(&seat);
  }
  const auto turn = [&](const Seat* seat) {
    return seat->state->turn_at && now_ - *seat->state->turn_at < rules_.victim_every;
  };
  std::stable_sort(line.begin(), line.end(), [&](const Seat* a, const Seat* b) {
    const bool now_a = turn(a);
    const bool now_b = turn(b);
    if (now_a && now_b) return *a->state->turn_at > *b->state->turn_at;
    if (now_a != now_b) return now_a;
    return fruitless(*a) < fruitless(*b);
  });
  for (Seat* seat : line) {
    if (!turn(seat)) {
      seat->state->turn_at = now_;
      seat->state->held_at_turn = seat->vm->resident;
    }
    const auto step = steps_.Shrink(*seat, std::max(wanted, kLeast), /*hurry=*/true);
    if (plan_.squeeze >= Squeeze::kLimit) steps_.Limit(*seat);
    if (step != HybridSteps::Step::kStuck) return;
  }
}

// The needy are short of what nobody uses: the others give in proportion to what they hold above
// their floor, idle memory counting more.
void Hybrid::Draw(Bytes missing) {
  const auto weight = [](const Seat& seat) -> Wide {
    if (!seat.acts || seat.needy || seat.surplus < kLeast) return 0;
    const std::int64_t active = std::clamp<std::int64_t>(
        seat.vm->working_set.active.value_or(Permyriad{10000}).value, 0, 10000);
    return static_cast<Wide>(seat.surplus.mib()) * (40000 - 3 * active) * 1000 /
           std::max<std::uint32_t>(seat.vm->spec.shares, 1);
  };
  Wide all = 0;
  for (const Seat& seat : seats_) all += weight(seat);
  if (all == 0) return;
  for (Seat& seat : seats_) {
    const double part = static_cast<double>(weight(seat)) / static_cast<double>(all);
    const auto amount = static_cast<double>(missing.count()) * part;
    if (amount < static_cast<double>(kLeast.count())) continue;
    const Bytes wanted(static_cast<std::int64_t>(std::min(amount, 0x1p62)));
    steps_.Shrink(seat, wanted, /*hurry=*/false);
  }
}

// Nobody is short.
void Hybrid::Rest() {
  const CapacityTerms& terms = *plan_.capacity.terms;
  // The first help at once: nobody but the guest knows that a balloon is what it waits for. Whoever
  // has none may take as much at any time; and so no guest's word moves another's share.
  Bytes spare = terms.available - terms.buffer * kPlenty;
  const bool plenty = plan_.squeeze == Squeeze::kNone && spare >= Bytes();
  const auto& pressure = snapshot_.host.pressure_some_avg10;
  const bool calm = !pressure || *pressure <= rules_.pressure;
  for (auto seat = seats_.rbegin(); plenty && seat != seats_.rend(); ++seat) {
    if (!seat->acts || seat->needy) continue;
    const Bytes help = std::min(Help(*seat->vm), spare);
    steps_.DeflateAtRest(*seat, help);
    spare -= help;
  }
  for (Seat& seat : seats_) {
    if (calm) steps_.PageOutCold(seat);
  }
}

// Nothing more is promised while the host is short, whatever the sum says.
void StopPromising(Plan& plan) {
  Capacity& capacity = plan.capacity;
  if (capacity.additional > Bytes()) {
    capacity.reason = "the host is short of its buffer: nothing more is promised";
  }
  capacity.additional = Bytes();
  capacity.published = capacity.granted;
  plan.carry.additional = Bytes();
  plan.carry.rise_since.reset();
}

}  // namespace

Bytes WorkingSetOf(const VmState& vm) {
  const Bytes held = std::max(vm.resident.value_or(Bytes()), Bytes());
  if (vm.working_set.active) {
    return std::min(held * std::max(*vm.working_set.active, Permyriad{0}), held);
  }
  if (vm.working_set.cold) return Clamp(held - *vm.working_set.cold, Bytes(), held);
  return held;
}

Bytes FloorOf(const VmState& vm, const HybridParams& rules) {
  const Bytes least = LeastMemory(vm.spec, rules.min_memory);
  const Bytes floor = std::min(std::max(least, Bytes()), vm.spec.guest_memory);
  // Where nobody looked there is no working set to keep; refaults say when it is too little.
  const bool seen = vm.working_set.active || vm.working_set.cold;
  return seen ? std::max(floor, WorkingSetOf(vm)) : floor;
}

std::string WhyNeedy(const VmState& vm, const HybridState& state, const HybridParams& rules) {
  if (vm.pressure_some_avg10 && *vm.pressure_some_avg10 > rules.pressure) {
    return "it waits for memory in more of its time than is allowed (PSI)";
  }
  const std::uint64_t now = vm.faults_a_minute.value_or(0);
  const std::uint64_t lately = state.missed_milli / 1000;
  if (!Misses(vm, lately, 1, rules) && !Wakes(vm, rules)) return "";
  return "it misses " + std::to_string(std::max(now, lately)) +
         " pages a minute that it does not hold";
}

void DecideHybrid(const Snapshot& snapshot, const PolicyParams& params, Plan& plan) {
  plan.hybrid.clear();
  plan.vms.resize(snapshot.vms.size());
  for (const VmState& vm : snapshot.vms) plan.hybrid.push_back(vm.hybrid);
  plan.squeeze = SqueezeOf(snapshot, plan.capacity, params.hybrid);
  plan.carry.escalation = snapshot.carried.escalation;
  plan.carry.escalation.squeeze = plan.squeeze;
  if (plan.squeeze >= Squeeze::kHold) StopPromising(plan);
  Hybrid(snapshot, params, plan).Decide();
  Escalate(snapshot, params, plan);
}

}  // namespace ullage::policy
