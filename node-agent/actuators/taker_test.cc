// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/taker.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <optional>
#include <utility>

#include "node-agent/host/temporary_tree.h"

namespace ullage::actuators {
namespace {

using State = Outcome::State;

class FakePaging final : public Paging {
 public:
  Status PageOut(const VmId& vm, Bytes amount) override {
    calls.push_back("out " + vm.value + " " + std::to_string(amount.mib()));
    return answer;
  }
  Status Fetch(const VmId& vm) override {
    calls.push_back("fetch " + vm.value);
    return answer;
  }
  std::vector<std::string> calls;
  Status answer = Ok();
};

class FakeMoving final : public Moving {
 public:
  Outcome Ask(const Snapshot&, const Action& action) override {
    ++asked;
    return {action, State::kQueued, ""};
  }
  std::vector<Outcome> News(BootTime) override { return std::exchange(news, {}); }
  void Stop() override { stopped = true; }

  int asked = 0;
  std::vector<Outcome> news;
  bool stopped = false;
};

class TakerTest : public ::testing::Test, public BalloonSetter {
 protected:
  TakerTest() {
    tree_.Write("cgroup/a/memory.high", "max\n");
    book_.emplace(host::LeaseBook::Open(tree_.path(), "boot").value());
    host::Roots roots;
    roots.cgroup = tree_.path("cgroup");
    taker_.emplace(
        *this, Limits::Parts{*book_, roots, [this](const VmId&) { return tree_.path("cgroup/a"); },
                             [] { return true; }});
    struct stat status {};
    EXPECT_EQ(stat(tree_.path("cgroup/a").c_str(), &status), 0);
    VmState vm;
    vm.spec.id.value = "a";
    vm.spec.guest_memory = Bytes::GiB(1);
    vm.spec.reclaim = Reclaim::kHybrid;
    vm.resident = Bytes::MiB(300);
    vm.guest.balloon = Bytes::GiB(1);
    vm.cgroup = status.st_ino;
    snapshot_.vms.push_back(vm);
    snapshot_.vms_listed_at = BootTime{};
    for (const auto kind : {Action::Kind::kSetBalloon, Action::Kind::kLimit}) {
      plan_.actions.push_back({kind, {"a"}, "why"});
      plan_.actions.back().amount = Bytes::MiB(512);
    }
  }
  Status SetBalloon(const VmId&, Bytes left) override {
    left_ = left;
    return Ok();
  }

  host::TemporaryTree tree_;
  std::optional<host::LeaseBook> book_;
  std::optional<Taker> taker_;
  Snapshot snapshot_;
  Plan plan_;
  Bytes left_;
};

TEST_F(TakerTest, BelowModeReclaimItSaysWhatItWouldDo) {
  for (const Mode mode : {Mode::kObserve, Mode::kPublish}) {
    const auto outcomes = taker_->Apply(snapshot_, plan_, mode);
    ASSERT_EQ(outcomes.size(), 2u);
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.state, State::kSkipped);
      EXPECT_TRUE(outcome.message.starts_with("would ")) << outcome.message;
    }
  }
  EXPECT_EQ(left_, Bytes());
  EXPECT_FALSE(taker_->Owes());
}

TEST_F(TakerTest, PagesOutAndFetchesWhereTheOwnerAllowsIt) {
  Plan plan;
  plan.actions.push_back({Action::Kind::kPageOut, {"a"}, "why"});
  plan.actions.back().amount = Bytes::MiB(64);
  plan.actions.push_back({Action::Kind::kFetch, {"a"}, "why"});
  const auto states = [&](Mode mode) {
    std::vector<State> all;
    for (const Outcome& outcome : taker_->Apply(snapshot_, plan, mode))
      all.push_back(outcome.state);
    return all;
  };
  const std::vector<State> skipped{State::kSkipped, State::kSkipped};
  EXPECT_EQ(states(Mode::kReclaim), skipped) << "nobody does it";
  FakePaging paging;
  taker_->Use(paging);
  EXPECT_EQ(states(Mode::kPublish), skipped);
  EXPECT_TRUE(paging.calls.empty());
  EXPECT_EQ(states(Mode::kReclaim), (std::vector<State>{State::kQueued, State::kQueued}));
  EXPECT_EQ(paging.calls, (std::vector<std::string>{"out a 64", "fetch a"}));
  paging.answer = Error(Code::kNotFound, "which process?");
  EXPECT_EQ(states(Mode::kReclaim), (std::vector<State>{State::kFailed, State::kFailed}));
  snapshot_.vms[0].spec.reclaim = Reclaim::kHints;
  EXPECT_EQ(states(Mode::kReclaim), skipped);
  EXPECT_EQ(paging.calls.size(), 4u);
}

TEST_F(TakerTest, MigratesAndEvictsOnlyInModeReclaim) {
  Plan plan;
  plan.actions.push_back({Action::Kind::kMigrate, {"a"}, "why"});
  plan.actions.push_back({Action::Kind::kEvict, {"a"}, "why"});
  const auto are = [&](State state, Mode mode) {
    const auto outcomes = taker_->Apply(snapshot_, plan, mode);
    return outcomes.size() == 2 && outcomes[0].state == state && outcomes[1].state == state;
  };
  EXPECT_TRUE(are(State::kSkipped, Mode::kReclaim)) << "nobody does it";
  FakeMoving moving;
  taker_->Use(moving);
  EXPECT_TRUE(are(State::kSkipped, Mode::kObserve));
  EXPECT_TRUE(are(State::kSkipped, Mode::kPublish));
  EXPECT_EQ(moving.asked, 0);
  EXPECT_TRUE(are(State::kQueued, Mode::kReclaim));
  EXPECT_EQ(moving.asked, 2);
  moving.news.push_back({plan.actions[0], State::kDone, "made"});
  const auto outcomes = taker_->Apply(snapshot_, {}, Mode::kReclaim);
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].message, "made");
  EXPECT_FALSE(moving.stopped);
  taker_->Release();
  EXPECT_TRUE(moving.stopped);
  EXPECT_TRUE(are(State::kSkipped, Mode::kReclaim)) << "the agent ends";
  EXPECT_EQ(moving.asked, 2);
}

TEST_F(TakerTest, GivesBackAllOfItOnceItIsReleased) {
  for (const Outcome& outcome : taker_->Apply(snapshot_, plan_, Mode::kReclaim)) {
    EXPECT_NE(outcome.state, State::kFailed) << outcome.message;
  }
  EXPECT_EQ(left_, Bytes::MiB(512));
  EXPECT_EQ(taker_->Leased(snapshot_.at.boot).size(), 1u);
  EXPECT_TRUE(taker_->Owes());
  taker_->Release();
  taker_->Apply(snapshot_, plan_, Mode::kReclaim);
  EXPECT_EQ(left_, Bytes::GiB(1));
  taker_->Apply(snapshot_, plan_, Mode::kReclaim);
  EXPECT_FALSE(taker_->Owes());
}

}  // namespace
}  // namespace ullage::actuators
