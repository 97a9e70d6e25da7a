// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/escalation.h"

#include <algorithm>
#include <vector>

#include "node-agent/model/human.h"
#include "node-agent/policy/capacity.h"

namespace ullage::policy {
namespace {

// Whoever was asked to go and is still here lets others go first for so long.
constexpr seconds kAskedLately{300};
constexpr Permyriad kMargin{1250};

// What may come to be asked for at most: Σ(L − R) + U + N.
Bytes Claims(const Snapshot& snapshot, const CapacityTerms& terms) {
  Bytes claims = terms.unsold + terms.not_ours;
  for (const VmState& vm : snapshot.vms) claims += RestOf(vm);
  return claims;
}

Squeeze At(const CapacityTerms& terms, Bytes left, Bytes claims, const HybridParams& rules) {
  if (left >= claims) return Squeeze::kNone;
  if (left < terms.buffer * rules.evict_below) return Squeeze::kEvict;
  if (left < terms.buffer * rules.limit_below) return Squeeze::kLimit;
  if (left < terms.buffer * rules.shrink_below) return Squeeze::kShrink;
  if (left < terms.buffer * rules.hold_below) return Squeeze::kHold;
  return Squeeze::kNone;
}

bool ApiAway(const NodeSample& node, BootTime now) {
  return !node.fault.empty() || !Within(node.heard_at, now, kFollowedFor);
}

bool HasVmi(const NodeSample& node, const VmId& id) {
  return std::any_of(node.vmis.begin(), node.vmis.end(), [&](const VmiSample& vmi) {
    return vmi.spec.id == id && !vmi.launcher.empty();
  });
}

// May it be asked to go at all? Whoever is left alone, or leaves already, is not.
bool MayGo(const Snapshot& snapshot, const VmState& vm) {
  if (!vm.exempt.empty() || vm.leaving || vm.bound_only || !vm.resident) return false;
  if (vm.run != Run::kRunning || vm.spec.reclaim == Reclaim::kOff) return false;
  return HasVmi(*snapshot.node, vm.spec.id);
}

// The index of the one to go: not a needy one and not one that was asked lately, if there is
// another; then by value.
template <typename Filter>
std::optional<std::size_t> First(const Snapshot& snapshot, const Plan& plan, Filter filter) {
  std::optional<std::size_t> best;
  const auto rank = [&](std::size_t i) {
    const bool asked = Within(plan.hybrid[i].moved_at, snapshot.at.boot, kAskedLately);
    return (asked ? 2 : 0) + (plan.hybrid[i].needy ? 1 : 0);
  };
  for (std::size_t i = 0; i < snapshot.vms.size(); ++i) {
    if (!MayGo(snapshot, snapshot.vms[i]) || !filter(snapshot.vms[i])) continue;
    const bool first = !best || rank(i) < rank(*best) ||
                       (rank(i) == rank(*best) && GivesFirst(snapshot.vms[i], snapshot.vms[*best]));
    if (first) best = i;
  }
  return best;
}

// Once for the node: each VM has its own words.
std::string WhyNobody(const Snapshot& snapshot) {
  std::size_t stay = 0;
  std::size_t alone = 0;
  for (const VmState& vm : snapshot.vms) {
    const bool left_alone = !vm.exempt.empty() || vm.spec.reclaim == Reclaim::kOff;
    alone += left_alone ? 1 : 0;
    stay += !left_alone && !vm.stays.empty() ? 1 : 0;
  }
  const std::string of = " of " + std::to_string(snapshot.vms.size()) + " VMs";
  std::string why = "no VM can be asked to leave this node";
  if (stay > 0) why += "; KubeVirt cannot migrate " + std::to_string(stay) + of;
  if (alone > 0) why += "; " + std::to_string(alone) + of + " are left alone";
  return why;
}

void Ask(Action::Kind kind, std::size_t index, const char* why, const Snapshot& snapshot,
         Plan& plan) {
  const CapacityTerms& terms = *plan.capacity.terms;
  const VmState& vm = snapshot.vms[index];
  Action action{
      kind, vm.spec.id,
      InMiB(terms.available) + " is left of a buffer of " + InMiB(terms.buffer) + ": " + why};
  action.amount = *vm.resident;
  plan.actions.push_back(std::move(action));
  plan.hybrid[index].moved_at = snapshot.at.boot;
  plan.carry.escalation.moved_at = snapshot.at.boot;
}

}  // namespace

Squeeze SqueezeOf(const Snapshot& snapshot, const Capacity& capacity, const HybridParams& rules) {
  const Squeeze before = snapshot.carried.escalation.squeeze;
  if (!capacity.terms) return before;
  const CapacityTerms& terms = *capacity.terms;
  const Bytes claims = Claims(snapshot, terms);
  const Squeeze now = At(terms, terms.available, claims, rules);
  if (now >= before) return now;
  const Bytes margin = std::max(terms.buffer * kMargin, Bytes());
  return std::min(before, std::max(now, At(terms, terms.available - margin, claims, rules)));
}

bool GivesFirst(const VmState& a, const VmState& b) {
  // R · (4 − 3 f) / shares, compared crosswise: exact, and below 2^127.
  const auto taxed = [](const VmState& vm) {
    const std::int64_t active =
        std::clamp<std::int64_t>(vm.working_set.active.value_or(Permyriad{10000}).value, 0, 10000);
    const Bytes held = std::max(vm.resident.value_or(Bytes()), Bytes());
    return static_cast<Wide>(held.count()) * (40000 - 3 * active);
  };
  const Wide left = taxed(a) * std::max<std::uint32_t>(b.spec.shares, 1);
  const Wide right = taxed(b) * std::max<std::uint32_t>(a.spec.shares, 1);
  return left != right ? left > right : a.spec.id < b.spec.id;
}

void Escalate(const Snapshot& snapshot, const PolicyParams& params, Plan& plan) {
  if (plan.squeeze < Squeeze::kLimit || !plan.capacity.terms || !snapshot.node) return;
  const BootTime now = snapshot.at.boot;
  if (ApiAway(*snapshot.node, now)) return;
  if (Within(plan.carry.escalation.moved_at, now, params.hybrid.victim_every)) return;
  if (plan.squeeze == Squeeze::kEvict && params.hybrid.last_step != LastStep::kMigrate) {
    const auto victim = First(
        snapshot, plan, [](const VmState& vm) { return vm.reclaimed > Bytes() && !vm.keeps_pod; });
    if (victim) {
      Ask(Action::Kind::kEvict, *victim,
          "it stands on reclaimed memory, and its memory is of the least value", snapshot, plan);
      return;
    }
  }
  // One at a time: what migrates gives nothing back before it has arrived.
  const bool leaves = std::any_of(snapshot.vms.begin(), snapshot.vms.end(),
                                  [](const VmState& vm) { return vm.leaving; });
  if (leaves) return;
  const auto victim = First(snapshot, plan, [](const VmState& vm) { return vm.stays.empty(); });
  if (!victim) {
    plan.nobody_goes = WhyNobody(snapshot);
    return;
  }
  Ask(Action::Kind::kMigrate, *victim, "its memory is of the least value here", snapshot, plan);
}

}  // namespace ullage::policy
