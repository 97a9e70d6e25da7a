// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/guest_parameters.h"

namespace ullage::actuators {
namespace {

constexpr seconds kBetweenTries{60};

}  // namespace

std::vector<Outcome> GuestParameters::Apply(const Plan& plan, BootTime now) {
  std::vector<Outcome> outcomes;
  for (const Action& action : plan.actions) {
    if (!action.parameter.empty()) outcomes.push_back(One(action, now));
  }
  std::erase_if(tried_, [&](const auto& entry) { return now - entry.second > 2 * kBetweenTries; });
  // What cannot be struck out is settled again in the next tick.
  if (may_write_ && !plan.settled.empty()) static_cast<void>(book_.Forget(plan.settled));
  return outcomes;
}

Outcome GuestParameters::One(const Action& action, BootTime now) {
  using State = Outcome::State;
  if (!may_write_) return {action, State::kSkipped, "this agent only observes"};
  const Key key{action.id, action.parameter, action.value};
  const auto tried = tried_.find(key);
  if (tried != tried_.end() && now - tried->second < kBetweenTries) {
    return {action, State::kQueued, "tried within the last minute"};
  }
  tried_[key] = now;
  const Status status = Write(action);
  if (!status) return {action, State::kFailed, status.error().message()};
  return {action, State::kQueued, ""};
}

Status GuestParameters::Write(const Action& action) {
  if (action.kind == Action::Kind::kSetGuestParameter) {
    Status noted = book_.Remember({action.id, action.parameter, action.before, action.value});
    if (!noted) return noted;
  }
  return writer_.Write(action.id, action.parameter, action.value);
}

}  // namespace ullage::actuators
