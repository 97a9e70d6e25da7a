// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/hints.h"

namespace ullage::actuators {
namespace {

constexpr seconds kBetweenTries{60};

}  // namespace

std::vector<Outcome> Hints::Apply(const Plan& plan, BootTime now) {
  std::vector<Outcome> outcomes;
  for (const Action& action : plan.actions) {
    if (action.kind == Action::Kind::kSwitchHintingOn) outcomes.push_back(One(action, now));
  }
  std::erase_if(tried_, [&](const auto& entry) { return now - entry.second > 2 * kBetweenTries; });
  return outcomes;
}

Outcome Hints::One(const Action& action, BootTime now) {
  using State = Outcome::State;
  if (!may_write_) return {action, State::kSkipped, "this agent only observes"};
  const auto tried = tried_.find(action.id);
  if (tried != tried_.end() && now - tried->second < kBetweenTries) {
    return {action, State::kQueued, "tried within the last minute"};
  }
  tried_[action.id] = now;
  const Status status = switch_.SwitchOn(action.id);
  if (!status) return {action, State::kFailed, status.error().message()};
  return {action, State::kQueued, ""};
}

}  // namespace ullage::actuators
