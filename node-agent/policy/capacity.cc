// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/capacity.h"

#include <algorithm>

#include "node-agent/model/fold.h"
#include "node-agent/model/human.h"

namespace ullage::policy {
namespace {

constexpr seconds kWholeDay{86400};
// What a guest never touched is believed to stay so only as the watch goes on: in full after this
// many times history_min, a day by default.
constexpr int kUntouchedFor = 12;
// Among VMs whose sum was watched for a day, sooner: others like it were young in that time, too.
constexpr int kNewcomerFor = 3;
// Horizons after which a p99 of them is more than a guess.
constexpr int kWholeHistory = 12;

bool Fresh(const std::optional<BootTime>& seen, BootTime now, seconds limit) {
  return seen && now - *seen <= limit;
}

// How much of it may still go to swap: its own limit and the host's.
Bytes SwapRoom(const VmState& vm, const HostSample& host) {
  const Bytes host_room = std::max(host.swap_free.value_or(Bytes()), Bytes());
  if (!vm.swap_limit) return host_room;
  const Bytes own = std::max(*vm.swap_limit - vm.swapped.value_or(Bytes()), Bytes());
  return std::min(own, host_room);
}

// How much of `whole` is yet to be seen.
Permyriad Missing(seconds seen, seconds whole) {
  if (seen >= whole) return Permyriad{0};
  return Permyriad{10000 - seen.count() * 10000 / whole.count()};
}

const Outlook& OutlookOf(const Forecast& forecast, std::size_t vm) {
  static constexpr Outlook kNone;
  return vm < forecast.vms.size() ? forecast.vms[vm] : kNone;
}

// g: what the VM may claim within the horizon. Whoever is unknown may claim all it was promised.
struct Claim {
  VmDecision decision;
  bool by_history = false;
  Bytes unwatched{};  // of g: what its history is too short to tell
};
Claim ClaimOf(const VmState& vm, const Outlook& outlook, const Snapshot& snapshot,
              const PolicyParams& params) {
  const Bytes rest = RestOf(vm);
  const auto whole = [&](std::string why) { return Claim{{vm.spec.id, rest, std::move(why)}}; };
  if (vm.bound_only) return whole("admitted, no QEMU seen yet: its whole promise is still to come");
  if (!vm.exempt.empty()) return whole("left alone: " + vm.exempt);
  if (!vm.resident) return whole("its charge is unknown: " + vm.fault);
  if (vm.leaving) return whole("it migrates away: until it has left it may claim all");
  if (vm.spec.reclaim == Reclaim::kOff) return whole("reclaim is off: counted as fully used");
  if (vm.reclaimed > Bytes() && outlook.observed < params.horizon * kWholeHistory) {
    return whole("it stands on reclaimed memory and has no whole history yet");
  }
  if (!Fresh(vm.answered_at, snapshot.at.boot, params.stale_after)) {
    return whole("its QEMU has not answered for more than " +
                 std::to_string(params.stale_after.count()) + " s");
  }
  if (!vm.watched_since || std::max(snapshot.at.boot - *vm.watched_since,
                                    BootClock::duration(outlook.observed)) < params.history_min) {
    return whole("watched for less than " + std::to_string(params.history_min.count()) +
                 " s since its guest started: what it never touched it may still want");
  }
  // A history that is younger than a day has not seen what comes once a day.
  const Bytes ceiling = CeilingOf(vm);
  const Bytes seen = ceiling * outlook.growth;
  const Bytes assumed = ceiling * params.growth * Missing(outlook.observed, kWholeDay);
  const Bytes never = ceiling - vm.peak.value_or(Bytes());
  const auto untouched_for = [&](int times) {
    return never * Missing(outlook.observed, params.history_min * times);
  };
  const Bytes untouched = untouched_for(kUntouchedFor);
  const Bytes growth = Clamp(std::max({seen, assumed, untouched}), Bytes(), rest);
  const char* why = growth == seen ? " (as it was seen to)"
                    : growth == untouched
                        ? " (it never touched more, and was watched for less than a day)"
                        : "";
  return {{vm.spec.id, growth,
           "may grow by " + InMiB(growth) + " of the " + InMiB(rest) + " it does not hold" + why},
          /*by_history=*/true,
          Clamp(std::max(assumed, untouched_for(kNewcomerFor)), Bytes(), growth)};
}

// Those who are believed by their histories, added up.
struct Believed {
  Bytes ceiling, held, growth, unwatched, rest;
};

// What they may claim together. Their own tails, added up one by one, come at once only where the
// VMs do, and whether they do shows in their sum: no more than that rose by within a horizon. No
// less than what it lacks to its high: a VM that is placed in the night is there in the morning.
// And no less than what nobody has watched yet.
Bytes ClaimTogether(const Believed& vms, Bytes ceilings, const Together& together) {
  const Bytes rise =
      std::max(ceilings * together.rise, vms.growth * Missing(together.observed, kWholeDay));
  const Bytes back = vms.ceiling * together.high - vms.held;
  return std::min(std::max({std::min(vms.growth, rise), back, vms.unwatched}), vms.rest);
}

// Each one's part of `claimed`: as its own g where that is less than all of them, and where it is
// more by what each does not hold.
Bytes PartOf(Bytes claimed, const Believed& vms, Bytes growth, Bytes rest) {
  const auto part = [](Bytes share, Bytes of, Bytes whole) {
    if (whole <= Bytes()) return Bytes();
    const auto wide = static_cast<Wide>(share.count()) * of.count() / whole.count();
    return Bytes(static_cast<std::int64_t>(wide));
  };
  if (claimed <= vms.growth) return part(growth, claimed, vms.growth);
  return growth + part(rest - growth, claimed - vms.growth, vms.rest - vms.growth);
}

// Sets each VM's g, and returns their sum.
Bytes DecideGrowth(const Snapshot& snapshot, const Forecast& forecast, const PolicyParams& params,
                   std::vector<VmDecision>& decisions) {
  Believed believed;
  Bytes ceilings, apart;
  std::vector<bool> by_history(snapshot.vms.size());
  decisions.reserve(snapshot.vms.size());
  for (std::size_t i = 0; i < snapshot.vms.size(); ++i) {
    const VmState& vm = snapshot.vms[i];
    Claim claim = ClaimOf(vm, OutlookOf(forecast, i), snapshot, params);
    ceilings += CeilingOf(vm);
    by_history[i] = claim.by_history;
    if (claim.by_history) {
      believed.ceiling += CeilingOf(vm);
      believed.held += HeldOf(vm);
      believed.growth += claim.decision.growth;
      believed.unwatched += claim.unwatched;
      believed.rest += RestOf(vm);
    } else {
      apart += claim.decision.growth;
    }
    decisions.push_back(std::move(claim.decision));
  }
  const Bytes together = ClaimTogether(believed, ceilings, forecast.together);
  const char* why = together < believed.growth   ? "; all together less"
                    : together > believed.growth ? "; all together held more before"
                                                 : "";
  for (std::size_t i = 0; i < decisions.size() && *why != '\0'; ++i) {
    if (!by_history[i]) continue;
    decisions[i].growth = PartOf(together, believed, decisions[i].growth, RestOf(snapshot.vms[i]));
    decisions[i].reason += why;
  }
  return apart + together;
}

// B: the largest claim that one VM might make beyond its allowance, or a share of the host.
Bytes Buffer(const Snapshot& snapshot, Bytes total, const PolicyParams& params) {
  Bytes buffer = total * params.buffer_of_host;
  for (const VmState& vm : snapshot.vms) {
    buffer = std::max(buffer, std::min(RestOf(vm), CeilingOf(vm) * params.buffer_of_vm));
  }
  return buffer;
}

// The node's pods that are no VMs.
struct Others {
  Bytes promised;  // their requests
  Bytes granted;   // of which on reclaimable capacity
  Bytes not_held;  // and what of them they have yet to claim: what is unknown, whole
};
Others OthersOf(const Snapshot& snapshot) {
  Others others;
  if (!snapshot.node) return others;
  for (const PodSample& pod : snapshot.node->pods) {
    if (pod.vmi) continue;
    const Bytes promised = pod.memory + pod.reclaimable;
    others.promised += promised;
    others.granted += pod.reclaimable;
    const auto held = snapshot.node->pod_working_sets.find(pod.uid);
    if (held == snapshot.node->pod_working_sets.end()) {
      others.not_held += promised;
    } else {
      others.not_held += std::max(promised - held->second, Bytes());
    }
  }
  return others;
}

// U: what ordinary admission still sells. On Kubernetes that is the scheduler, which counts the
// requests of all pods; absent where the node does not say how much it sells.
std::optional<Bytes> Unsold(const Snapshot& snapshot, Bytes ordinary, const PolicyParams& params) {
  if (!snapshot.node) {
    if (!snapshot.host.total) return std::nullopt;
    return std::max(*snapshot.host.total - params.reserve - ordinary, Bytes());
  }
  if (!snapshot.node->allocatable) return std::nullopt;
  Bytes sold;
  for (const PodSample& pod : snapshot.node->pods) sold += pod.memory;
  return std::max(*snapshot.node->allocatable - sold, Bytes());
}

// Rec: half of what reclaim could win back within the horizon, for cold memory may be wanted by
// then. Nothing where nobody looked, or where memory is already waited for.
Bytes Recoverable(const Snapshot& snapshot, const Forecast& forecast, const PolicyParams& params) {
  constexpr Permyriad kHalf{5000};
  const HostSample& host = snapshot.host;
  if (!host.pressure_some_avg10 || *host.pressure_some_avg10 > params.hybrid.pressure) return {};
  Bytes sum;
  for (std::size_t i = 0; i < snapshot.vms.size(); ++i) {
    const VmState& vm = snapshot.vms[i];
    const WorkingSet& seen = vm.working_set;
    if (vm.spec.reclaim != Reclaim::kHybrid || !vm.exempt.empty() || vm.leaving) continue;
    if (!vm.resident || !seen.cold) continue;
    if (!Fresh(seen.seen_at, snapshot.at.boot, params.horizon)) continue;
    const Bytes least = LeastMemory(vm.spec, params.hybrid.min_memory);
    sum += std::max(std::min({*seen.cold, *vm.resident - least, SwapRoom(vm, host),
                              OutlookOf(forecast, i).reclaimed}),
                    Bytes());
  }
  return std::min(sum, host.swap_free.value_or(Bytes())) * kHalf;
}

CapacityTerms Sum(const Snapshot& snapshot, const Forecast& forecast, const Plan& plan,
                  Bytes growth, const PolicyParams& params) {
  CapacityTerms terms;
  terms.growth = growth;
  const Bytes total = *snapshot.host.total;
  terms.available = *snapshot.host.available - params.reserve;
  terms.until_eviction = snapshot.host.until_eviction;
  terms.pods_left = snapshot.host.pods_left;
  for (const auto& bound : {terms.until_eviction, terms.pods_left}) {
    if (bound) terms.available = std::min(terms.available, *bound);
  }
  const auto widened = static_cast<std::int64_t>(forecast.audit.width * 10000);
  terms.buffer = Buffer(snapshot, total, params) * Permyriad{10000 + widened};
  terms.recoverable = Recoverable(snapshot, forecast, params);
  terms.unsold = plan.capacity.unsold;
  const Others other_pods = OthersOf(snapshot);
  terms.not_ours = other_pods.not_held;
  Bytes claims;     // Σ(L − R)
  Bytes swap_room;  // what may still be swapped out
  for (const VmState& vm : snapshot.vms) {
    claims += std::max(CeilingOf(vm) - HeldOf(vm), Bytes());
    if (!vm.bound_only) swap_room += SwapRoom(vm, snapshot.host);
  }
  const Bytes swap =
      std::min(swap_room, std::max(snapshot.host.swap_free.value_or(Bytes()), Bytes()));
  const Bytes others = terms.buffer + terms.unsold + terms.not_ours;
  terms.bound = terms.available + terms.recoverable - terms.growth - others;
  terms.bound_full = terms.available + swap - claims - others;
  terms.cap = total * params.ratio_cap - plan.capacity.promised - other_pods.promised;
  return terms;
}

// What an agent that ended had promised is had again at once, as far as it is safe now and as often
// as the first ticks, which do not know every VM yet, lose it again.
Bytes Left(std::optional<Inherited>& inherited, Bytes granted, BootTime now, Bytes quantum) {
  if (inherited && now >= inherited->until) inherited.reset();
  if (!inherited) return {};
  const Bytes bound = std::max(granted - inherited->granted, Bytes());
  return std::max(inherited->additional - bound, Bytes()).FloorTo(quantum);
}

// What may be promised in addition, before hysteresis.
Bytes Target(const CapacityTerms& terms, const PolicyParams& params) {
  const bool full = params.bound == Bound::kFull;
  const Bytes bound = full ? std::min(terms.bound, terms.bound_full) : terms.bound;
  return std::max(std::min(bound, terms.cap), Bytes()).FloorTo(params.quantum);
}

Bytes LeastRise(const Snapshot& snapshot, const PolicyParams& params) {
  return params.least_rise.value_or(*snapshot.host.total * params.dead_band);
}

struct Risen {
  Bytes additional;
  Carried carry;
};

// Down at once, up only after a quiet time and by small steps: a capacity that swings is one that
// schedulers place VMs on and take them off again.
Risen Follow(Bytes target, bool may_rise, Bytes granted, const Snapshot& snapshot,
             const PolicyParams& params) {
  Carried was = snapshot.carried;
  const BootTime now = snapshot.at.boot;
  // What was bound since the last tick came out of C: a bind alone leaves the published sum as it
  // is.
  const Bytes bound = std::max(granted - was.granted, Bytes());
  was.additional = std::max(was.additional - bound, Bytes());
  was.granted = granted;
  const Bytes left = Left(was.inherited, granted, now, params.quantum);
  if (may_rise) was.additional = std::max(was.additional, left);
  // Once it is had, what falls rises as slowly as ever.
  if (was.inherited && may_rise && target >= left) was.inherited->additional = Bytes();
  if (!may_rise) target = std::min(target, was.additional);
  if (target <= was.additional) {
    return {target, {target, granted, std::nullopt, was.last_rise, std::move(was.inherited)}};
  }
  // A little more is not worth a write, nor a placement that rests on it. What a rise has begun
  // it ends.
  const bool rising = was.last_rise && was.rise_since && *was.last_rise >= *was.rise_since;
  if (!rising && target - was.additional < LeastRise(snapshot, params)) {
    was.rise_since.reset();
    return {was.additional, std::move(was)};
  }
  Carried carry = was;
  carry.rise_since = was.rise_since.value_or(now);
  const BootTime allowed = *carry.rise_since + params.rise_delay;
  if (now < allowed) return {was.additional, carry};
  Bytes step = target - was.additional;
  if (params.rise_step < Permyriad{10000}) {
    const BootTime from = std::max(allowed, was.last_rise.value_or(allowed));
    const auto elapsed = std::chrono::duration_cast<milliseconds>(now - from).count();
    const Bytes a_minute = *snapshot.host.total * params.rise_step;
    // At the first allowed moment a whole minute's step is due: the delay has already passed.
    const std::int64_t share =
        was.last_rise && *was.last_rise >= allowed ? elapsed : elapsed + 60000;
    step = std::min(step, (a_minute * Permyriad{share / 6}).FloorTo(params.quantum));
  }
  if (step <= Bytes()) return {was.additional, carry};
  carry.additional = was.additional + step;
  carry.last_rise = now;
  return {carry.additional, carry};
}

// The API server may have promised what is not known here yet: C holds or falls, and never rises.
bool Followed(const Snapshot& snapshot) {
  if (!snapshot.node) return true;
  return snapshot.node->fault.empty() &&
         Fresh(snapshot.node->heard_at, snapshot.at.boot, kFollowedFor);
}

// Why nothing at all may be promised in addition; empty: something may.
std::string Blind(const Snapshot& snapshot, const PolicyParams& params) {
  if (!snapshot.host.total || !snapshot.host.available) {
    return "the host's memory is unknown: " + snapshot.host.fault;
  }
  if (snapshot.node && !snapshot.node->heard_at) {
    return "what was promised on this node is unknown: " + snapshot.node->fault;
  }
  if (snapshot.node && !snapshot.node->allocatable) {
    return "how much memory the node sells is unknown: " +
           (snapshot.node->fault.empty() ? "it has no allocatable memory" : snapshot.node->fault);
  }
  if (!Fresh(snapshot.vms_listed_at, snapshot.at.boot, params.stale_after)) {
    return "who runs here is unknown: " + snapshot.vms_fault;
  }
  return "";
}

std::string Why(const Snapshot& snapshot, const Capacity& capacity, Bytes target,
                const PolicyParams& params) {
  const CapacityTerms& terms = *capacity.terms;
  if (capacity.additional < target && !Followed(snapshot)) {
    return InMiB(target) +
           " would be safe; nothing rises while the API server is away: " + snapshot.node->fault;
  }
  const Bytes more = target - capacity.additional;
  if (more > Bytes() && more < LeastRise(snapshot, params)) {
    return InMiB(more) + " more would be safe, which is too little to rise for";
  }
  if (capacity.additional < target) {
    return InMiB(target) + " would be safe; rising slowly (after " +
           std::to_string(params.rise_delay.count()) + " s of quiet)";
  }
  if (params.bound == Bound::kFull && terms.bound_full < std::min(terms.bound, terms.cap)) {
    return terms.bound_full <= Bytes() ? "all that every guest may want at once is more than there "
                                         "is (policy.bound full)"
                                       : "all that is safe if every guest wants all at once";
  }
  if (terms.cap < terms.bound) return "capped: no more than K × the host is promised in all";
  if (terms.bound <= Bytes()) return "what the VMs may still claim takes all that is available";
  return "all that is safe within the horizon";
}

void AddActions(const Snapshot& snapshot, Plan& plan) {
  for (const VmState& vm : snapshot.vms) {
    const bool offered_later = vm.proof.at_next_start.value_or(true);
    if (vm.hinting != Hinting::kNotOffered || offered_later) continue;
    if (vm.spec.reclaim == Reclaim::kOff) continue;
    if (!vm.exempt.empty() || !vm.hints_off.empty()) continue;
    plan.actions.push_back({Action::Kind::kSwitchHintingOn, vm.spec.id,
                            "QEMU does not offer free page reporting; switched on for its next "
                            "start"});
  }
}

}  // namespace

Bytes CeilingOf(const VmState& vm) { return std::max(vm.promised, vm.spec.guest_memory); }

Bytes RestOf(const VmState& vm) {
  return std::max(CeilingOf(vm) - vm.resident.value_or(Bytes()), Bytes());
}

Bytes HeldOf(const VmState& vm) {
  return vm.resident.value_or(Bytes()) + std::max(vm.swapped.value_or(Bytes()), Bytes());
}

bool Within(const std::optional<BootTime>& then, BootTime now, milliseconds limit) {
  return then && now - *then < limit;
}

Plan Decide(const Snapshot& snapshot, const PolicyParams& params, const Forecast& forecast) {
  Plan plan;
  Capacity& capacity = plan.capacity;
  capacity.audit = forecast.audit;
  const Bytes growth = DecideGrowth(snapshot, forecast, params, plan.vms);
  for (const VmState& vm : snapshot.vms) {
    capacity.promised += vm.promised;
    capacity.granted += vm.reclaimed;
    capacity.ordinary += vm.ordinary;
  }
  capacity.granted += OthersOf(snapshot).granted;
  capacity.unsold = Unsold(snapshot, capacity.ordinary, params).value_or(Bytes());
  Bytes target;
  capacity.reason = Blind(snapshot, params);
  if (capacity.reason.empty()) {
    capacity.terms = Sum(snapshot, forecast, plan, growth, params);
    target = Target(*capacity.terms, params);
  }
  const Risen risen = Follow(target, Followed(snapshot), capacity.granted, snapshot, params);
  plan.carry = risen.carry;
  capacity.additional = risen.additional;
  capacity.published = capacity.granted + capacity.additional;
  if (capacity.terms) {
    capacity.reason = Why(snapshot, capacity, target, params);
    AddActions(snapshot, plan);
  }
  return plan;
}

Verdict Admit(const Room& room, const VmSpec& vm, const PolicyParams& params) {
  Verdict verdict;
  verdict.promised = Promised(vm, params.overhead);
  if (!room.known) {
    verdict.reason = "the agent does not know yet what this host has left; try again in a moment";
    return verdict;
  }
  // Below zero where more was promised than there is; to whoever asks that is none.
  const Bytes unsold = std::max(room.unsold, Bytes());
  const Bytes additional = std::max(room.additional, Bytes());
  verdict.ordinary = std::min(verdict.promised, unsold);
  const Bytes rest = (verdict.promised - verdict.ordinary).CeilTo(params.quantum);
  const std::string need = "it is promised " + InMiB(verdict.promised) + ", and " + InMiB(unsold) +
                           " of ordinary memory is left";
  if (rest == Bytes()) {
    verdict.admitted = true;
    verdict.reason = "on ordinary memory: " + need;
  } else if (vm.placement != Placement::kReclaimed) {
    verdict.reason = "no room: " + need +
                     " (placement is standard, so reclaimable memory is not "
                     "used; " +
                     InMiB(additional) + " of it is free)";
  } else if (rest > additional) {
    verdict.reason = "no room: " + need + "; it would need " + InMiB(rest) +
                     " of reclaimable memory and " + InMiB(additional) + " is free";
  } else {
    verdict.admitted = true;
    verdict.reclaimed = rest;
    verdict.promised = verdict.ordinary + rest;
    verdict.reason = "on " + InMiB(rest) + " of reclaimable memory: " + need;
  }
  if (!verdict.admitted) verdict.ordinary = Bytes();
  return verdict;
}

}  // namespace ullage::policy
