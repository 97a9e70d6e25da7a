// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/limits.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <optional>

#include "node-agent/host/temporary_tree.h"

namespace ullage::actuators {
namespace {

using State = Outcome::State;

// A v2 cgroup made of files; one VM in it.
class LimitsTest : public ::testing::Test {
 protected:
  LimitsTest() {
    tree_.Write("cgroup/a/memory.high", "max\n");
    Open();
    VmState vm;
    vm.spec.id.value = "a";
    vm.spec.guest_memory = Bytes::MiB(1024);
    vm.spec.reclaim = Reclaim::kHybrid;
    vm.resident = Bytes::MiB(300);
    vm.cgroup = Inode("cgroup/a");
    snapshot_.vms.push_back(vm);
    snapshot_.vms_listed_at = BootTime{};
  }
  void Open() {
    book_.emplace(host::LeaseBook::Open(tree_.path(), "boot").value());
    host::Roots roots;
    roots.cgroup = tree_.path("cgroup");
    limits_.emplace(Limits::Parts{
        *book_, roots, [this](const VmId& vm) { return tree_.path("cgroup/" + vm.value); },
        [this] {
          if (++looks_ == forgets_at_) {
            auto other = host::LeaseBook::Open(tree_.path(), "boot").value();
            EXPECT_TRUE(other.Change([](host::Leases& leases) { leases.values.clear(); }).ok());
          }
          return keeper_;
        }});
  }
  std::uint64_t Inode(const std::string& path) const {
    struct stat status {};
    EXPECT_EQ(stat(tree_.path(path).c_str(), &status), 0);
    return status.st_ino;
  }
  VmState& vm() { return snapshot_.vms[0]; }
  std::vector<Outcome> Tick(std::optional<int> limit_mib = {}, bool may_take = true) {
    Plan plan;
    if (limit_mib) {
      plan.actions.push_back({Action::Kind::kLimit, {"a"}, "why"});
      plan.actions[0].amount = Bytes::MiB(*limit_mib);
    }
    return Do(plan, may_take);
  }
  std::vector<Outcome> Do(const Plan& plan, bool may_take = true) {
    snapshot_.at.boot += seconds(5);
    const auto leased = limits_->Leased(snapshot_.at.boot);
    const auto found = leased.find({"a"});
    if (!snapshot_.vms.empty()) {
      vm().leased = found == leased.end() ? std::nullopt : std::optional(found->second);
    }
    return limits_->Apply(snapshot_, plan, may_take);
  }
  std::string Stands(const std::string& file = "memory.high") const {
    return host::ReadFile(tree_.path("cgroup/a/" + file), 100).value();
  }
  std::size_t Held() const { return book_->leases().values.size(); }

  host::TemporaryTree tree_;
  bool keeper_ = true;
  int looks_ = 0, forgets_at_ = 0;
  std::optional<host::LeaseBook> book_;
  std::optional<Limits> limits_;
  Snapshot snapshot_;
};

TEST_F(LimitsTest, SetsALimitThatTheBookKnows) {
  EXPECT_EQ(Tick(400)[0].state, State::kDone);
  EXPECT_EQ(Stands(), "419430400");
  const auto& value = book_->leases().values.at({"a", "memory.high"});
  EXPECT_EQ(value.was, std::nullopt);
  EXPECT_EQ(value.next, Bytes::MiB(400));
  const auto leased = limits_->Leased(snapshot_.at.boot);
  EXPECT_EQ(leased.at({"a"}).limit, Bytes::MiB(400));
  EXPECT_FALSE(leased.at({"a"}).yielded);
}

// An agent that stood still between writing the book and writing the limit: ullage-lease has seen
// to it that nothing stands, and forgotten it.
TEST_F(LimitsTest, NothingStandsThatTheBookHasForgotten) {
  forgets_at_ = 2;  // the first look comes before the limit is written
  EXPECT_EQ(Tick(400)[0].state, State::kSkipped);
  EXPECT_EQ(Stands(), "max");
  EXPECT_EQ(Held(), 0U);
  EXPECT_EQ(Tick(400)[0].state, State::kDone) << "the next one is set again";
}

TEST_F(LimitsTest, WithoutSomebodyToUndoItNothingIsSet) {
  keeper_ = false;
  const auto outcomes = Tick(400);
  EXPECT_EQ(outcomes[0].state, State::kSkipped);
  EXPECT_NE(outcomes[0].message.find("ullage-lease"), std::string::npos);
  EXPECT_EQ(Stands(), "max\n");
  EXPECT_EQ(Held(), 0u);
}

TEST_F(LimitsTest, WhatCannotBeWrittenDownIsNotSet) {
  const auto lock = host::LockFile(tree_.path("leases.lock"));
  EXPECT_EQ(Tick(400)[0].state, State::kFailed);
  EXPECT_EQ(Stands(), "max\n");
}

TEST_F(LimitsTest, NeverSqueezesBelowWhatIsChargedOrPromised) {
  EXPECT_EQ(Tick(301)[0].state, State::kSkipped) << "less than 1 % above the charge";
  EXPECT_EQ(Stands(), "max\n");
  vm().resident = Bytes::MiB(100);
  Tick(120);
  EXPECT_EQ(Stands(), "268435456") << "a quarter of its memory is its own";
  limits_->KeepAtLeast(Permyriad{1250});
  snapshot_.at.boot += seconds(60);
  Tick(120);
  EXPECT_EQ(Stands(), "134217728") << "or what the rules say";
}

TEST_F(LimitsTest, NeverRaisesWhatStoodThere) {
  tree_.Write("cgroup/a/memory.high", "419430400\n");
  Tick(900);
  EXPECT_EQ(Stands(), "419430400\n");
  EXPECT_EQ(Held(), 0u);
}

TEST_F(LimitsTest, RaisesAtOnceAndLowersSeldom) {
  Tick(400);
  snapshot_.at.boot -= seconds(4);
  EXPECT_EQ(Tick(380)[0].state, State::kSkipped);
  snapshot_.at.boot -= seconds(5);
  EXPECT_EQ(Tick(500)[0].state, State::kDone);
  EXPECT_EQ(Stands(), "524288000");
  EXPECT_EQ(Tick(380)[0].state, State::kDone);
  EXPECT_EQ(Stands(), "398458880");
}

TEST_F(LimitsTest, TakesItAwayInTheSameTick) {
  Tick(400);
  Plan plan;
  plan.actions.push_back({Action::Kind::kUnlimit, {"a"}, "why"});
  Do(plan);
  EXPECT_EQ(Stands(), "max");
  EXPECT_EQ(Held(), 0u);
}

TEST_F(LimitsTest, AnotherWriterWins) {
  Tick(400);
  tree_.Write("cgroup/a/memory.high", "314572800\n");
  EXPECT_EQ(Tick(350)[0].state, State::kSkipped);
  EXPECT_EQ(Stands(), "314572800\n");
  EXPECT_EQ(Held(), 0u) << "nothing to undo";
  EXPECT_TRUE(vm().leased->yielded);
  snapshot_.at.boot += seconds(600);
  Tick();
  EXPECT_FALSE(vm().leased.has_value());
  tree_.Write("cgroup/a/memory.high", "max\n");
  EXPECT_EQ(Tick(400)[0].state, State::kDone) << "cooled down";
}

TEST_F(LimitsTest, FollowsWhoeverUndidIt) {
  Tick(400);
  tree_.Write("cgroup/a/memory.high", "max\n");  // as ullage-lease does, with the book
  auto other = host::LeaseBook::Open(tree_.path(), "boot");
  ASSERT_TRUE(other->Change([](host::Leases& leases) { leases.values.clear(); }).ok());
  Tick();
  EXPECT_FALSE(vm().leased.has_value());
  EXPECT_EQ(Tick(400)[0].state, State::kDone);
}

TEST_F(LimitsTest, UndoesAllWhenItMayNotTakeAnyMore) {
  Tick(400);
  EXPECT_EQ(Tick(380, false)[0].state, State::kSkipped);
  EXPECT_EQ(Stands(), "max");
  Tick(400);
  vm().leaving = true;  // limits are taken away before a migration
  Tick();
  EXPECT_EQ(Stands(), "max");
}

TEST_F(LimitsTest, TheNextAgentUndoesWhatTheLastOneSet) {
  Tick(400);
  Open();
  Tick();
  EXPECT_EQ(Stands(), "max");
  EXPECT_EQ(Held(), 0u);
}

TEST_F(LimitsTest, ACgroupOfAnotherIsNeverTouched) {
  ++vm().cgroup;
  EXPECT_EQ(Tick(400)[0].state, State::kFailed);
  EXPECT_EQ(Stands(), "max\n");
  --vm().cgroup;
  Tick(400);
  tree_.Remove("cgroup/a");
  snapshot_.vms.clear();
  Tick();
  EXPECT_EQ(Held(), 0u);
}

TEST_F(LimitsTest, VersionOneHasItsOwnFile) {
  tree_.Remove("cgroup/a/memory.high");
  tree_.Write("cgroup/a/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Tick(400)[0].state, State::kDone);
  EXPECT_EQ(Stands("memory.limit_in_bytes"), "419430400");
  Tick({}, false);
  EXPECT_EQ(Stands("memory.limit_in_bytes"), "-1");
}

TEST_F(LimitsTest, LiftsTheKubeletsBanOfSwapForHybridVmsAndPutsItBack) {
  tree_.Write("cgroup/a/memory.swap.max", "0\n");
  vm().swap_limit = Bytes();
  Tick();
  EXPECT_EQ(Stands("memory.swap.max"), "0\n") << "this host has no swap";
  snapshot_.host.swap_total = Bytes::GiB(1);
  vm().spec.reclaim = Reclaim::kHints;
  Tick();
  EXPECT_EQ(Stands("memory.swap.max"), "0\n");
  vm().spec.reclaim = Reclaim::kHybrid;
  EXPECT_EQ(Tick()[0].state, State::kDone);
  EXPECT_EQ(Stands("memory.swap.max"), "max");
  EXPECT_FALSE(vm().leased.has_value()) << "no limit of its memory";
  vm().swap_limit.reset();
  Tick();
  EXPECT_EQ(Stands("memory.swap.max"), "max");
  Tick({}, false);
  EXPECT_EQ(Stands("memory.swap.max"), "0");
}

TEST_F(LimitsTest, SaysThatItCannotLiftIt) {
  vm().swap_limit = Bytes();
  snapshot_.host.swap_total = Bytes::GiB(1);
  const auto outcomes = Tick();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].state, State::kFailed);
  EXPECT_TRUE(Tick().empty()) << "said once a minute";
}

}  // namespace
}  // namespace ullage::actuators
