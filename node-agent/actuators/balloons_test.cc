// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/balloons.h"

#include <gtest/gtest.h>

#include <optional>

#include "node-agent/host/temporary_tree.h"

namespace ullage::actuators {
namespace {

using State = Outcome::State;

class FakeSetter final : public BalloonSetter {
 public:
  Status SetBalloon(const VmId& vm, Bytes left) override {
    calls.push_back(vm.value + " " + std::to_string(left.mib()));
    return answer;
  }
  std::vector<std::string> calls;
  Status answer = Ok();
};

class BalloonsTest : public ::testing::Test {
 protected:
  BalloonsTest() {
    book_.emplace(host::LeaseBook::Open(tree_.path(), "boot").value());
    balloons_.emplace(setter_, *book_);
    VmState vm;
    vm.spec.id.value = "a";
    vm.spec.guest_memory = Bytes::MiB(1024);
    vm.spec.reclaim = Reclaim::kHybrid;
    vm.guest.balloon = Bytes::MiB(1024);
    snapshot_.vms.push_back(vm);
    snapshot_.vms_listed_at = BootTime{};
  }
  VmState& vm() { return snapshot_.vms[0]; }
  std::vector<Outcome> Tick(std::optional<int> left_mib = {}, bool may_take = true) {
    snapshot_.at.boot += seconds(5);
    Plan plan;
    if (left_mib) {
      plan.actions.push_back({Action::Kind::kSetBalloon, {"a"}, "why"});
      plan.actions[0].amount = Bytes::MiB(*left_mib);
    }
    return balloons_->Apply(snapshot_, plan, may_take);
  }
  std::size_t Held() const { return book_->leases().balloons.size(); }

  host::TemporaryTree tree_;
  FakeSetter setter_;
  std::optional<host::LeaseBook> book_;
  std::optional<Balloons> balloons_;
  Snapshot snapshot_;
};

TEST_F(BalloonsTest, WritesDownWhatItLeftBeforeItMovesIt) {
  EXPECT_EQ(Tick(512)[0].state, State::kQueued);
  EXPECT_EQ(setter_.calls, std::vector<std::string>{"a 512"});
  EXPECT_EQ(book_->leases().balloons.at("a"), Bytes::MiB(1024));
  vm().guest.balloon = Bytes::MiB(512);
  Tick(400);
  EXPECT_EQ(book_->leases().balloons.at("a"), Bytes::MiB(1024)) << "the first figure stays";
}

TEST_F(BalloonsTest, MovesNothingThatItCouldNotUndo) {
  const auto lock = host::LockFile(tree_.path("leases.lock"));
  EXPECT_EQ(Tick(512)[0].state, State::kFailed);
  EXPECT_TRUE(setter_.calls.empty());
}

TEST_F(BalloonsTest, StaysWithinWhatTheOwnerSaid) {
  Tick(10);
  EXPECT_EQ(setter_.calls.back(), "a 256") << "a quarter, where he said nothing";
  balloons_->KeepAtLeast(Permyriad{1250});
  Tick(10);
  EXPECT_EQ(setter_.calls.back(), "a 128") << "or what the rules say";
  vm().spec.min_memory = Bytes::MiB(700);
  Tick(10);
  EXPECT_EQ(setter_.calls.back(), "a 700");
}

TEST_F(BalloonsTest, GivesBackWhatItWasAndNotMore) {
  vm().guest.balloon = Bytes::MiB(800);  // its owner keeps the rest from it
  Tick(512);
  vm().guest.balloon = Bytes::MiB(512);
  Tick(1024);
  EXPECT_EQ(setter_.calls.back(), "a 800");
  EXPECT_EQ(Held(), 1u) << "until the guest has it";
  vm().guest.balloon = Bytes::MiB(800);
  Tick();
  EXPECT_EQ(Held(), 0u);
}

TEST_F(BalloonsTest, DoesNothingUnasked) {
  Tick(512);
  Tick();
  Tick();
  EXPECT_EQ(setter_.calls.size(), 1u);
  EXPECT_EQ(Held(), 1u);
}

TEST_F(BalloonsTest, TheNextAgentGivesBackWhatTheLastOneTook) {
  Tick(512);
  vm().guest.balloon = Bytes::MiB(512);
  book_.emplace(host::LeaseBook::Open(tree_.path(), "boot").value());
  balloons_.emplace(setter_, *book_);
  const auto outcomes = Tick();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].action.amount, Bytes::MiB(1024));
  EXPECT_EQ(setter_.calls.back(), "a 1024");
  vm().guest.balloon = Bytes::MiB(1024);
  Tick();
  EXPECT_EQ(Held(), 0u);
}

TEST_F(BalloonsTest, GivesBackWhenItMayNotTakeAnyMore) {
  Tick(512);
  vm().guest.balloon = Bytes::MiB(512);
  vm().spec.reclaim = Reclaim::kHints;
  Tick();
  EXPECT_EQ(setter_.calls.back(), "a 1024");
  vm().spec.reclaim = Reclaim::kHybrid;
  Tick(512);
  EXPECT_EQ(setter_.calls.back(), "a 512");
  Tick({}, false);
  EXPECT_EQ(setter_.calls.back(), "a 1024");
}

TEST_F(BalloonsTest, AsksAgainWhileTheGuestDoesNotFollow) {
  Tick(512);
  vm().guest.balloon = Bytes::MiB(512);
  Tick(1024);
  Tick();
  EXPECT_EQ(setter_.calls.size(), 3u);
  snapshot_.at.boot -= seconds(4);
  Tick();
  EXPECT_EQ(setter_.calls.size(), 3u) << "but does not nag";
  EXPECT_EQ(Held(), 1u);
}

TEST_F(BalloonsTest, ForgetsAVmOnlyWhenItHasEndedForCertain) {
  Tick(512);
  const VmState gone = vm();
  snapshot_.vms.clear();
  snapshot_.vms_fault = "libvirt is away";
  Tick();
  EXPECT_EQ(Held(), 1u);
  snapshot_.vms_fault.clear();
  snapshot_.node = NodeSample{};
  Tick();
  EXPECT_EQ(Held(), 1u) << "the API server was not heard yet";
  snapshot_.node->heard_at = BootTime{};
  Tick();
  EXPECT_EQ(Held(), 0u);
}

TEST_F(BalloonsTest, TouchesNobodyWhoDidNotAllowIt) {
  vm().spec.reclaim = Reclaim::kHints;
  EXPECT_EQ(Tick(512)[0].state, State::kSkipped);
  vm().spec.reclaim = Reclaim::kHybrid;
  EXPECT_EQ(Tick(512, false)[0].state, State::kSkipped);
  vm().guest.balloon.reset();
  EXPECT_EQ(Tick(512)[0].state, State::kFailed) << "what it leaves now is not known";
  snapshot_.vms.clear();
  EXPECT_EQ(Tick(512)[0].state, State::kFailed);
  EXPECT_TRUE(setter_.calls.empty());
  EXPECT_EQ(Held(), 0u);
}

TEST_F(BalloonsTest, ShrinksOnceASecondAndGrowsAtOnce) {
  Tick(512);
  snapshot_.at.boot -= seconds(5);
  Tick(400);
  EXPECT_EQ(setter_.calls.size(), 1u);
  vm().guest.balloon = Bytes::MiB(512);
  snapshot_.at.boot -= seconds(5);
  Tick(600);
  EXPECT_EQ(setter_.calls.back(), "a 600");
}

}  // namespace
}  // namespace ullage::actuators
