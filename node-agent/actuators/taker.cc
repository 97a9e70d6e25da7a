// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/taker.h"

#include <iterator>

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
  return outcomes;
}

}  // namespace ullage::actuators
