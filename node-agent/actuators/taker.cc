// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/taker.h"

#include <iterator>

#include "node-agent/model/find.h"
#include "node-agent/model/human.h"

namespace ullage::actuators {
namespace {

// Growing before shrinking, and a limit is out of the way before anything else happens to its VM.
void Append(std::vector<Outcome>& all, std::vector<Outcome> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

std::vector<Outcome> Taker::Apply(const Snapshot& snapshot, const Plan& plan, Mode mode) {
  const bool may_take = mode == Mode::kReclaim && !released_;
  std::vector<Outcome> outcomes;
  Append(outcomes, limits_.Apply(snapshot, plan, may_take));
  Append(outcomes, balloons_.Apply(snapshot, plan, may_take));
  if (moving_ != nullptr) Append(outcomes, moving_->News(snapshot.at.boot));
  for (const Action& action : plan.actions) {
    if (action.kind == Action::Kind::kPageOut || action.kind == Action::Kind::kFetch) {
      outcomes.push_back(Page(snapshot, action, may_take));
    }
    if (action.kind == Action::Kind::kMigrate || action.kind == Action::Kind::kEvict) {
      outcomes.push_back(Move(snapshot, action, may_take));
    }
  }
  return outcomes;
}

void Taker::Release() {
  released_ = true;
  if (moving_ != nullptr) moving_->Stop();
}

Outcome Taker::Move(const Snapshot& snapshot, const Action& action, bool may_take) {
  using State = Outcome::State;
  if (!may_take) {
    const bool migrate = action.kind == Action::Kind::kMigrate;
    return {action, State::kSkipped,
            std::string("would ") + (migrate ? "migrate" : "evict") + " it: only in mode reclaim"};
  }
  if (moving_ == nullptr) return {action, State::kSkipped, "nobody migrates or evicts here"};
  return moving_->Ask(snapshot, action);
}

// There is nothing to undo: what is in swap comes back when it is touched.
Outcome Taker::Page(const Snapshot& snapshot, const Action& action, bool may_take) {
  using State = Outcome::State;
  const bool fetch = action.kind == Action::Kind::kFetch;
  if (!may_take) {
    return {action, State::kSkipped,
            fetch ? "would fetch what it has in swap"
                  : "would page out " + Human(action.amount) + ": only in mode reclaim"};
  }
  if (paging_ == nullptr) return {action, State::kSkipped, "nobody pages out here"};
  const VmState* vm = FindById(snapshot.vms, action.id);
  if (vm == nullptr) return {action, State::kFailed, "no such VM"};
  if (!MayTakeFrom(*vm)) {
    return {action, State::kSkipped, "its owner did not allow it, or it is leaving"};
  }
  const Status asked =
      fetch ? paging_->Fetch(action.id) : paging_->PageOut(action.id, action.amount);
  if (!asked) return {action, State::kFailed, asked.error().message()};
  return {action, State::kQueued, ""};
}

}  // namespace ullage::actuators
