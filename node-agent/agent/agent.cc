// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "node-agent/agent/journal.h"
#include "node-agent/model/fold.h"
#include "node-agent/policy/capacity.h"

namespace ullage::agent {

void Agent::Tick() {
  const Moment now = parts_.clock.Now();
  Samples samples = parts_.sources.Read(now);
  Snapshot snapshot = Fold(previous_, std::move(samples), policy_.overhead);
  Plan plan = policy::Decide(snapshot, policy_);
  auto outcomes = parts_.hints.Apply(plan, now.boot);
  for (Outcome& outcome : parts_.parameters.Apply(plan, now.boot)) {
    outcomes.push_back(std::move(outcome));
  }
  previous_ = Remember(snapshot, plan);

  const auto report = std::make_shared<const Report>(Report{std::move(snapshot), std::move(plan),
                                                            std::move(outcomes), Name(config_.mode),
                                                            last_->tick + 1});
  for (const std::string& line : parts_.gate.Update(report->snapshot, report->plan)) {
    spdlog::info("admission: {}", line);
  }
  parts_.bulletin.Post(report);
  if (parts_.count) parts_.count(*report);
  Log(*report);
  last_ = report;
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
