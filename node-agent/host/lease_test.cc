// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/lease.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

std::uint64_t InodeOf(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0);
  return status.st_ino;
}

class LeaseTest : public ::testing::Test {
 protected:
  LeaseTest() {
    roots_.cgroup = tree_.path("cgroup");
    tree_.Write("cgroup/vm/memory.high", "max\n");
  }
  std::string Now(const std::string& file = "memory.high") const {
    return ReadFile(tree_.path("cgroup/vm/" + file), 100).value();
  }
  LeasedValue Value() const {
    const std::string cgroup = tree_.path("cgroup/vm");
    return {cgroup, InodeOf(cgroup), std::nullopt, std::nullopt, Bytes::MiB(64)};
  }
  const Leases::Key key_{"7f-a", "memory.high"};
  TemporaryTree tree_;
  Roots roots_;
};

TEST_F(LeaseTest, ABookSurvivesItsWriterAndNotTheBoot) {
  {
    auto book = LeaseBook::Open(tree_.path(), "boot-1");
    ASSERT_TRUE(book.ok());
    EXPECT_TRUE(book->leases().values.empty());
    ASSERT_TRUE(book->Change([&](Leases& leases) {
                      leases.values[key_] = Value();
                      leases.balloons["b"] = Bytes::GiB(4);
                    })
                    .ok());
  }
  const auto next = LeaseBook::Open(tree_.path(), "boot-1");
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->leases().values.at(key_), Value());
  EXPECT_EQ(next->leases().balloons.at("b"), Bytes::GiB(4));
  const auto later = LeaseBook::Open(tree_.path(), "boot-2");
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(later->leases(), Leases{});
  EXPECT_EQ(later->trouble(), "");
}

TEST_F(LeaseTest, TwoWritersSeeEachOther) {
  auto one = LeaseBook::Open(tree_.path(), "boot");
  auto two = LeaseBook::Open(tree_.path(), "boot");
  ASSERT_TRUE(one->Change([&](Leases& leases) { leases.values[key_] = Value(); }).ok());
  ASSERT_TRUE(two->Change([&](Leases& leases) { leases.balloons["b"] = Bytes(1); }).ok());
  EXPECT_EQ(two->leases().values.size(), 1u);
  ASSERT_TRUE(two->Change([&](Leases& leases) { leases.values.clear(); }).ok());
  EXPECT_EQ(one->leases().values.size(), 1u) << "not looked yet";
  ASSERT_TRUE(one->Look().ok());
  EXPECT_TRUE(one->leases().values.empty());
  EXPECT_EQ(one->leases().balloons.size(), 1u);
}

TEST_F(LeaseTest, WhoIsAtTheBookIsNotWaitedFor) {
  auto book = LeaseBook::Open(tree_.path(), "boot");
  const auto lock = LockFile(tree_.path("leases.lock"));
  ASSERT_TRUE(lock.ok());
  const Status changed = book->Change([&](Leases& leases) { leases.values[key_] = Value(); });
  EXPECT_EQ(changed.error().code(), Code::kExists);
  EXPECT_TRUE(book->leases().values.empty());
}

TEST_F(LeaseTest, HoldsOnlyWhatTheOtherOneHasNotDropped) {
  auto book = LeaseBook::Open(tree_.path(), "boot");
  ASSERT_TRUE(book->Change([&](Leases& leases) { leases.values[key_] = Value(); }).ok());
  EXPECT_TRUE(book->Holds(key_));
  {
    const auto lock = LockFile(tree_.path("leases.lock"));
    EXPECT_FALSE(book->Holds(key_)) << "the other one is at it";
  }
  auto other = LeaseBook::Open(tree_.path(), "boot");
  ASSERT_TRUE(other->Change([](Leases& leases) { leases.values.clear(); }).ok());
  EXPECT_FALSE(book->Holds(key_));
}

TEST_F(LeaseTest, GarbageIsMovedAsideAndSaid) {
  const char* const kBad[] = {
      "",
      "nonsense\n",
      "ullage-leases 2 boot\n",
      "ullage-leases 1 boot\nvalue vm 1 memory.max none none 5 /x\n",
      "ullage-leases 1 boot\nvalue vm 1 memory.high none none -5 /x\n",
      "ullage-leases 1 boot\nvalue vm 1 memory.high none none 5 x\n",
      "ullage-leases 1 boot\nvalue vm 1 memory.high none none 99999999999999999999 /x\n",
      "ullage-leases 1 boot\nvalue v/m 1 memory.high none none 5 /x\n",
      "ullage-leases 1 boot\nballoon vm\n",
      "ullage-leases 1 boot\nballoon vm 1\nballoon vm 2\n",
  };
  for (const char* const bad : kBad) {
    tree_.Write("leases", bad);
    const auto book = LeaseBook::Open(tree_.path(), "boot");
    ASSERT_TRUE(book.ok()) << bad;
    EXPECT_NE(book->trouble(), "") << bad;
    EXPECT_EQ(book->leases(), Leases{});
    EXPECT_EQ(ReadFile(tree_.path("leases.bad"), 100).value(), bad);
  }
}

TEST_F(LeaseTest, WhatCannotStandInALineIsRefused) {
  auto book = LeaseBook::Open(tree_.path(), "boot");
  LeasedValue odd = Value();
  odd.cgroup += "\nvalue";
  EXPECT_FALSE(book->Change([&](Leases& leases) { leases.values[key_] = odd; }).ok());
  EXPECT_FALSE(book->Change([&](Leases& leases) { leases.balloons["a b"] = Bytes(1); }).ok());
  EXPECT_EQ(book->leases(), Leases{});
}

TEST_F(LeaseTest, UndoRestoresWhatItWroteItself) {
  tree_.Write("cgroup/vm/memory.high", "67108864\n");
  EXPECT_EQ(Undo(roots_, key_.second, Value()).value(), Undone::kRestored);
  EXPECT_EQ(Now(), "max");
  LeasedValue second = Value();  // killed between the book and the cgroup
  second.was = Bytes::MiB(100);
  second.last = Bytes::MiB(32);
  tree_.Write("cgroup/vm/memory.high", "33554432\n");
  EXPECT_EQ(Undo(roots_, key_.second, second).value(), Undone::kRestored);
  EXPECT_EQ(Now(), "104857600");
}

TEST_F(LeaseTest, UndoLeavesWhatIsSomebodyElses) {
  tree_.Write("cgroup/vm/memory.high", "12345\n");
  EXPECT_EQ(Undo(roots_, key_.second, Value()).value(), Undone::kYielded);
  EXPECT_EQ(Now(), "12345\n");
  LeasedValue other = Value();
  ++other.inode;
  EXPECT_EQ(Undo(roots_, key_.second, other).value(), Undone::kGone);
  other.cgroup += "-gone";
  EXPECT_EQ(Undo(roots_, key_.second, other).value(), Undone::kGone);
}

TEST_F(LeaseTest, NothingOutsideTheHierarchyIsWritten) {
  tree_.Write("elsewhere/memory.high", "67108864");
  LeasedValue outside = Value();
  for (const char* const path : {"elsewhere", "cgroup/../elsewhere"}) {
    outside.cgroup = tree_.path(path);
    outside.inode = InodeOf(outside.cgroup);
    EXPECT_EQ(Undo(roots_, key_.second, outside).error().code(), Code::kInvalid) << path;
  }
  EXPECT_EQ(ReadFile(tree_.path("elsewhere/memory.high"), 100).value(), "67108864");
  EXPECT_FALSE(LeasableFile::Open(roots_, tree_.path("cgroup/vm"), 0, "memory.max").ok());
}

TEST_F(LeaseTest, VersionOneWritesNoLimitInItsOwnWay) {
  tree_.Write("cgroup/vm/memory.limit_in_bytes", "9223372036854771712\n");
  const auto file = LeasableFile::Open(roots_, tree_.path("cgroup/vm"), 0, kV1Limit);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->Read().value(), std::nullopt);
  ASSERT_TRUE(file->Write(Bytes::MiB(1)).ok());
  EXPECT_EQ(Now("memory.limit_in_bytes"), "1048576");
  ASSERT_TRUE(file->Write(std::nullopt).ok());
  EXPECT_EQ(Now("memory.limit_in_bytes"), "-1");
}

TEST_F(LeaseTest, ThePulseTellsTheLivingFromTheDead) {
  EXPECT_FALSE(FeelPulse(tree_.path())->held);
  {
    const auto heart = Heartbeat::Begin(tree_.path());
    ASSERT_TRUE(heart.ok());
    EXPECT_TRUE(FeelPulse(tree_.path())->held);
    EXPECT_EQ(FeelPulse(tree_.path())->beat, std::nullopt);
    ASSERT_TRUE(heart->Beat(BootTime(seconds(77))).ok());
    EXPECT_EQ(FeelPulse(tree_.path())->beat, BootTime(seconds(77)));
    EXPECT_EQ(Heartbeat::Begin(tree_.path()).error().code(), Code::kExists);
  }
  const auto dead = FeelPulse(tree_.path());
  EXPECT_FALSE(dead->held);
  EXPECT_EQ(dead->beat, BootTime(seconds(77)));
  EXPECT_TRUE(Heartbeat::Begin(tree_.path()).ok());
}

TEST_F(LeaseTest, OneKeeperAFolder) {
  EXPECT_FALSE(KeeperLives(tree_.path()));
  const auto keeper = KeeperLock(tree_.path());
  ASSERT_TRUE(keeper.ok());
  EXPECT_TRUE(KeeperLives(tree_.path()));
  EXPECT_EQ(KeeperLock(tree_.path()).error().code(), Code::kExists);
}

}  // namespace
}  // namespace ullage::host
