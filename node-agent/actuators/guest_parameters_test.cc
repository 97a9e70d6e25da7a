// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/guest_parameters.h"

#include <gtest/gtest.h>

namespace ullage::actuators {
namespace {

// Both ends note the order in which they are called.
class Fakes final : public GuestWriter, public ChangeBook {
 public:
  Status Write(const VmId& vm, const std::string& parameter, const std::string& value) override {
    calls.push_back("write " + vm.value + " " + parameter + "=" + value);
    return answer;
  }
  Status Remember(const GuestChange& change) override {
    calls.push_back("note " + change.name + " was " + change.before);
    return noted;
  }
  Status Forget(const std::vector<GuestChange>& changes) override {
    calls.push_back("forget " + std::to_string(changes.size()));
    return Ok();
  }
  std::vector<std::string> calls;
  Status answer = Ok();
  Status noted = Ok();
};

Plan Wish(Action::Kind kind = Action::Kind::kSetGuestParameter) {
  Plan plan;
  plan.actions.push_back({kind, {"a"}, "why", "settle_ms", "50", "100"});
  return plan;
}

TEST(GuestParameters, NotesWhatUndoesItFirstAndDoesNotNag) {
  Fakes fakes;
  GuestParameters parameters(fakes, fakes, true);
  const BootTime start{};
  EXPECT_EQ(parameters.Apply(Wish(), start)[0].state, Outcome::State::kQueued);
  EXPECT_EQ(fakes.calls,
            (std::vector<std::string>{"note settle_ms was 100", "write a settle_ms=50"}));
  parameters.Apply(Wish(), start + seconds(59));
  EXPECT_EQ(fakes.calls.size(), 2u);
  parameters.Apply(Wish(), start + seconds(60));
  EXPECT_EQ(fakes.calls.size(), 4u);
}

TEST(GuestParameters, WritesNothingThatItCouldNotUndo) {
  Fakes fakes;
  fakes.noted = Error(Code::kExhausted, "disk full");
  GuestParameters parameters(fakes, fakes, true);
  const auto outcomes = parameters.Apply(Wish(), BootTime{});
  EXPECT_EQ(outcomes[0].state, Outcome::State::kFailed);
  EXPECT_EQ(outcomes[0].message, "disk full");
  EXPECT_EQ(fakes.calls.size(), 1u);
}

TEST(GuestParameters, RestoresWithoutANewNoteAndForgetsWhatIsSettled) {
  Fakes fakes;
  GuestParameters parameters(fakes, fakes, true);
  Plan plan = Wish(Action::Kind::kRestoreGuestParameter);
  plan.settled.push_back({{"b"}, "order", "9", "8"});
  parameters.Apply(plan, BootTime{});
  EXPECT_EQ(fakes.calls, (std::vector<std::string>{"write a settle_ms=50", "forget 1"}));
}

TEST(GuestParameters, WritesNothingWhenItOnlyObserves) {
  Fakes fakes;
  GuestParameters parameters(fakes, fakes, false);
  Plan plan = Wish();
  plan.settled.push_back({{"b"}, "order", "9", "8"});
  EXPECT_EQ(parameters.Apply(plan, BootTime{})[0].state, Outcome::State::kSkipped);
  EXPECT_TRUE(fakes.calls.empty());
}

TEST(GuestParameters, LeavesOtherActionsAlone) {
  Fakes fakes;
  GuestParameters parameters(fakes, fakes, true);
  Plan plan;
  plan.actions.push_back({Action::Kind::kSwitchHintingOn, {"a"}, "why", "", "", ""});
  EXPECT_TRUE(parameters.Apply(plan, BootTime{}).empty());
}

}  // namespace
}  // namespace ullage::actuators
