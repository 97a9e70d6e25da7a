// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/agent.h"

#include <spdlog/spdlog.h>

#include "node-agent/agent/journal.h"
#include "node-agent/model/fold.h"
#include "node-agent/policy/capacity.h"

namespace ullage::agent {

void Agent::Tick() {
  const Moment now = parts_.clock.Now();
  Samples samples = parts_.sources.Read(now);
  Snapshot snapshot = Fold(previous_, std::move(samples), config_.policy.overhead);
  Plan plan = policy::Decide(snapshot, config_.policy);
  auto outcomes = parts_.actuators.Apply(plan, now.boot);
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

void Agent::Log(const Report& report) const {
  for (const Entry& entry : Changes(*last_, report)) {
    const bool warn = entry.level == Entry::Level::kWarning;
    spdlog::log(warn ? spdlog::level::warn : spdlog::level::info, "{}", entry.text);
  }
}

}  // namespace ullage::agent
