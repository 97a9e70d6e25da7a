// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "node-agent/agent/journal.h"
#include "node-agent/model/fold.h"
#include "node-agent/policy/hybrid.h"

namespace ullage::agent {

void Agent::Tick() {
  const Moment now = parts_.clock.Now();
  const auto anew = WithoutGap(now.boot);
  const Snapshot& previous = anew ? *anew : last_->snapshot;
  if (parts_.taking != nullptr) parts_.taking->Beat(now.boot);
  Samples samples = parts_.sources.Read(now);
  if (parts_.taking != nullptr) {
    samples.leased = parts_.taking->taker().Leased(now.boot);
    parts_.taking->Know(parts_.sources.Hybrids());
  }
  Snapshot snapshot = Fold(previous, std::move(samples), config_.policy.overhead);
  const NodeSample* node = snapshot.node ? &*snapshot.node : nullptr;
  const Mode mode = Allowed(node);
  const PolicyParams rules = Rules(node);
  reserve_ = rules.reserve;
  Plan plan = policy_.Decide(snapshot, rules);
  parts_.hints.MayWrite(mode != Mode::kObserve);
  parts_.parameters.MayWrite(mode != Mode::kObserve);
  auto outcomes = parts_.hints.Apply(plan, now.boot);
  for (Outcome& outcome : parts_.parameters.Apply(plan, now.boot)) {
    outcomes.push_back(std::move(outcome));
  }
  if (parts_.taking != nullptr) {
    parts_.taking->taker().KeepAtLeast(rules.hybrid.min_memory);
    for (Outcome& outcome : parts_.taking->taker().Apply(snapshot, plan, mode)) {
      outcomes.push_back(std::move(outcome));
    }
  }
  snapshot = Remember(std::move(snapshot), plan);

  const auto report = std::make_shared<const Report>(Report{
      std::move(snapshot), std::move(plan), std::move(outcomes), Name(mode), last_->tick + 1});
  if (parts_.gate != nullptr) {
    for (const std::string& line : parts_.gate->Update(report->snapshot, report->plan)) {
      spdlog::info("admission: {}", line);
    }
  }
  parts_.bulletin.Post(report);
  if (parts_.count) parts_.count(*report);
  Log(*report);
  last_ = report;
}

void Agent::Inherit(Inherited inherited) {
  Report none;
  none.snapshot.carried.inherited = std::move(inherited);
  last_ = std::make_shared<const Report>(std::move(none));
}

// A process that was stopped, or a machine that was suspended, saw neither whether it was quiet nor
// what its VMs did: that time counts for nothing. Absent: there is no such gap.
std::optional<Snapshot> Agent::WithoutGap(BootTime now) const {
  if (last_->tick == 0) return std::nullopt;
  const auto gap = now - last_->snapshot.at.boot;
  if (gap <= 3 * config_.tick) return std::nullopt;
  spdlog::warn("the last tick was {} s ago: nothing rises because of that time",
               std::chrono::duration_cast<seconds>(gap).count());
  Snapshot previous = last_->snapshot;
  previous.carried.rise_since.reset();
  for (VmState& vm : previous.vms) {
    if (vm.watched_since) *vm.watched_since += gap;
  }
  return previous;
}

// A ReclaimPolicy stands over the configuration, and no more than both allow is done.
PolicyParams Agent::Rules(const NodeSample* node) const {
  PolicyParams rules = node != nullptr && node->params ? *node->params : config_.policy;
  rules.hybrid.last_step = config_.kubernetes.last_step;
  if (!wishes_) rules.guest_parameters.clear();
  return rules;
}

Mode Agent::Allowed(const NodeSample* node) const {
  if (node == nullptr || !node->max_mode) return config_.mode;
  return std::min(config_.mode, *node->max_mode);
}

// By the terms of the last tick: its buffer is what the host has to keep.
bool Agent::HostHasTurned() {
  const auto& terms = last_->plan.capacity.terms;
  if (!terms) return false;
  const auto available = parts_.sources.LookAtHost();
  if (!available) return false;
  const Bytes left = *available - reserve_;
  // What was taken is given back as soon as there is enough: a guest may wait for it.
  if (terms->available < terms->buffer) return left >= terms->buffer * policy::kPlenty;
  return left < terms->buffer;
}

void Agent::WishNothing() {
  wishes_ = false;
  if (parts_.taking != nullptr) parts_.taking->taker().Release();
}

bool Agent::Restores() const {
  if (parts_.taking != nullptr && parts_.taking->taker().Owes()) return true;
  return std::any_of(last_->outcomes.begin(), last_->outcomes.end(), [](const Outcome& outcome) {
    return outcome.action.kind == Action::Kind::kRestoreGuestParameter &&
           outcome.state == Outcome::State::kQueued;
  });
}

void Agent::Log(const Report& report) const {
  for (const Entry& entry : Changes(*last_, report)) {
    const bool warn = entry.level == Entry::Level::kWarning;
    spdlog::log(warn ? spdlog::level::warn : spdlog::level::info, "{}", entry.text);
  }
}

}  // namespace ullage::agent
