// SPDX-License-Identifier: Apache-2.0
#include "node-agent/lease/keeper.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::lease {
namespace {

using host::Heartbeat;
using host::LeaseBook;

constexpr BootTime kNow{seconds(1000)};

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    options_.folder = tree_.path();
    options_.roots.cgroup = tree_.path("cgroup");
    options_.boot_id = "boot";
    Lease("memory.high", std::nullopt, "67108864\n");
  }
  // A file as the agent left it, 64 MiB by its book.
  void Lease(const std::string& file, std::optional<Bytes> was, const std::string& stands) {
    tree_.Write("cgroup/vm/" + file, stands);
    struct stat status {};
    ASSERT_EQ(stat(tree_.path("cgroup/vm").c_str(), &status), 0);
    auto book = LeaseBook::Open(tree_.path(), "boot");
    ASSERT_TRUE(book->Change([&](host::Leases& leases) {
                      leases.values[{"vm", file}] = {tree_.path("cgroup/vm"), status.st_ino, was,
                                                     std::nullopt, Bytes::MiB(64)};
                      leases.balloons["vm"] = Bytes::GiB(1);
                    })
                    .ok());
  }
  std::string Stands(const std::string& file) const {
    return host::ReadFile(tree_.path("cgroup/vm/" + file), 100).value();
  }
  Keeper::Seen Look(BootTime now = kNow) {
    const auto seen = Keeper(options_).Look(now);
    EXPECT_TRUE(seen.ok());
    return seen.ok() ? *seen : Keeper::Seen{};
  }

  host::TemporaryTree tree_;
  Keeper::Options options_;
};

TEST_F(KeeperTest, LeavesAnAgentThatBreathesAlone) {
  const auto heart = Heartbeat::Begin(tree_.path());
  ASSERT_TRUE(heart->Beat(kNow - seconds(9)).ok());
  const auto seen = Look();
  EXPECT_TRUE(seen.held);
  EXPECT_EQ(seen.left, 1u);
  EXPECT_EQ(Stands("memory.high"), "67108864\n");
}

TEST_F(KeeperTest, UndoesADeadAgentsLimitsAtOnceAndKeepsItsBalloonsForTheNext) {
  Lease("memory.swap.max", Bytes(), "67108864\n");
  {
    const auto heart = Heartbeat::Begin(tree_.path());
    ASSERT_TRUE(heart->Beat(kNow).ok());
  }
  const auto seen = Look();
  EXPECT_FALSE(seen.held);
  EXPECT_EQ(seen.left, 0u);
  EXPECT_EQ(seen.undone.size(), 2u);
  EXPECT_EQ(Stands("memory.high"), "max");
  EXPECT_EQ(Stands("memory.swap.max"), "0");
  const auto book = LeaseBook::Open(tree_.path(), "boot");
  EXPECT_TRUE(book->leases().values.empty());
  EXPECT_EQ(book->leases().balloons.size(), 1u);
}

TEST_F(KeeperTest, UndoesThoseOfAnAgentThatIsStuck) {
  const auto heart = Heartbeat::Begin(tree_.path());
  ASSERT_TRUE(heart->Beat(kNow - seconds(10)).ok());
  const auto seen = Look();
  EXPECT_TRUE(seen.held);
  EXPECT_EQ(Stands("memory.high"), "max");
}

TEST_F(KeeperTest, AnAgentThatNeverBreathedOrBreathesInTheFutureIsStuck) {
  const auto heart = Heartbeat::Begin(tree_.path());
  Look();
  EXPECT_EQ(Stands("memory.high"), "max");
  Lease("memory.high", std::nullopt, "67108864\n");
  ASSERT_TRUE(heart->Beat(kNow + seconds(1)).ok());
  Look();
  EXPECT_EQ(Stands("memory.high"), "max");
}

TEST_F(KeeperTest, SomebodyElsesValueStays) {
  tree_.Write("cgroup/vm/memory.high", "4096\n");
  const auto seen = Look();
  EXPECT_EQ(seen.left, 0u);
  EXPECT_EQ(Stands("memory.high"), "4096\n");
}

TEST_F(KeeperTest, ACgroupThatIsGoneIsForgotten) {
  tree_.Remove("cgroup/vm");
  EXPECT_EQ(Look().left, 0u);
}

TEST_F(KeeperTest, WhatMakesNoSenseIsLeftAndSaid) {
  tree_.Write("cgroup/vm/memory.high", "no number\n");
  const auto seen = Look();
  EXPECT_EQ(seen.left, 0u) << "what makes no sense is not ours: never retried";
  EXPECT_EQ(seen.faults.size(), 1u);
  EXPECT_EQ(Stands("memory.high"), "no number\n");
}

}  // namespace
}  // namespace ullage::lease
