// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/hints.h"

#include <gtest/gtest.h>

namespace ullage::actuators {
namespace {

class FakeSwitch final : public HintSwitch {
 public:
  Status SwitchOn(const VmId& vm) override {
    calls.push_back(vm.value);
    return answer;
  }
  std::vector<std::string> calls;
  Status answer = Ok();
};

Plan Wish() {
  Plan plan;
  plan.actions.push_back({Action::Kind::kSwitchHintingOn, {"a"}, "why"});
  return plan;
}

TEST(Hints, SwitchesOnAndDoesNotNag) {
  FakeSwitch fake;
  Hints hints(fake, true);
  const BootTime start{};
  EXPECT_EQ(hints.Apply(Wish(), start)[0].state, Outcome::State::kQueued);
  hints.Apply(Wish(), start + seconds(59));
  EXPECT_EQ(fake.calls.size(), 1u);
  hints.Apply(Wish(), start + seconds(60));
  EXPECT_EQ(fake.calls.size(), 2u);
}

TEST(Hints, WritesNothingWhenItOnlyObserves) {
  FakeSwitch fake;
  Hints hints(fake, false);
  EXPECT_EQ(hints.Apply(Wish(), BootTime{})[0].state, Outcome::State::kSkipped);
  EXPECT_TRUE(fake.calls.empty());
}

TEST(Hints, PassesAFailureOn) {
  FakeSwitch fake;
  fake.answer = Error(Code::kNotFound, "no such VM");
  Hints hints(fake, true);
  const auto outcomes = hints.Apply(Wish(), BootTime{});
  EXPECT_EQ(outcomes[0].state, Outcome::State::kFailed);
  EXPECT_EQ(outcomes[0].message, "no such VM");
}

}  // namespace
}  // namespace ullage::actuators
