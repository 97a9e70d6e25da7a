// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "node-agent/agent/journal.h"
#include "node-agent/model/fold.h"

namespace ullage::agent {

void Agent::Tick() {
  const Moment now = parts_.clock.Now();
  DiscardGap(now.boot);
  Samples samples = parts_.sources.Read(now);
  Snapshot snapshot = Fold(previous_, std::move(samples), config_.policy.overhead);
  const NodeSample* node = snapshot.node ? &*snapshot.node : nullptr;
  const Mode mode = Allowed(node);
  Plan plan = policy_.Decide(snapshot, Rules(node));
  parts_.hints.MayWrite(mode != Mode::kObserve);
  parts_.parameters.MayWrite(mode != Mode::kObserve);
  auto outcomes = parts_.hints.Apply(plan, now.boot);
  for (Outcome& outcome : parts_.parameters.Apply(plan, now.boot)) {
    outcomes.push_back(std::move(outcome));
  }
  previous_ = Remember(snapshot, plan);

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

// A process that was stopped, or a machine that was suspended, saw neither whether it was quiet nor
// what its VMs did: that time counts for nothing.
void Agent::DiscardGap(BootTime now) {
  if (last_->tick == 0) return;
  const auto gap = now - previous_.at.boot;
  if (gap <= 3 * config_.tick) return;
  spdlog::warn("the last tick was {} s ago: nothing rises because of that time",
               std::chrono::duration_cast<seconds>(gap).count());
  previous_.carried.rise_since.reset();
  for (VmState& vm : previous_.vms) {
    if (vm.watched_since) *vm.watched_since += gap;
  }
}

// A ReclaimPolicy stands over the configuration, and no more than both allow is done.
PolicyParams Agent::Rules(const NodeSample* node) const {
  PolicyParams rules = node != nullptr && node->params ? *node->params : config_.policy;
  if (!wishes_) rules.guest_parameters.clear();
  return rules;
}

Mode Agent::Allowed(const NodeSample* node) const {
  if (node == nullptr || !node->max_mode) return config_.mode;
  return std::min(config_.mode, *node->max_mode);
}

bool Agent::Restores() const {
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
