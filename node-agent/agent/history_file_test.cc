// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/history_file.h"

#include <gtest/gtest.h>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"
#include "node-agent/policy/policy.h"

namespace ullage::agent {
namespace {

class HistoryFileTest : public testing::Test {
 protected:
  // A VM that was watched for some hours and grew once.
  HistoryFileTest() {
    node_.at.boot = BootTime(seconds(100000));
    node_.host.total = Bytes::GiB(32);
    node_.host.available = Bytes::GiB(30);
    VmState vm;
    vm.spec.id.value = "a";
    vm.promised = vm.ordinary = Bytes::GiB(8);
    vm.peak = Bytes::GiB(8);
    vm.resident = Bytes::GiB(2);
    vm.cgroup = 7;
    vm.epoch = 5;
    node_.vms = {vm};
    for (int i = 0; i < 500; ++i) {
      node_.vms[0].resident = Bytes::GiB(i == 250 ? 3 : 2);
      Tick(policy_);
    }
  }
  Plan Tick(policy::Policy& policy) {
    node_.at.boot += seconds(30);
    node_.vms_listed_at = node_.vms[0].answered_at = node_.at.boot;
    node_.vms[0].watched_since = node_.at.boot - seconds(60);
    return policy.Decide(node_, PolicyParams{});
  }
  Status Restore(policy::Policy& policy, const std::string& boot_id = "boot") {
    return HistoryFile(file_, boot_id).Restore(policy.histories(), node_.at.boot);
  }
  std::string Text() const { return *host::ReadFile(file_, 1 << 20); }

  host::TemporaryTree tree_;
  const std::string file_ = tree_.path("histories.json");
  Snapshot node_;
  policy::Policy policy_;
};

TEST_F(HistoryFileTest, AnotherAgentOfThisBootGoesOnWithThem) {
  ASSERT_TRUE(HistoryFile(file_, "boot").Write(policy_.histories()).ok());
  const Bytes growth = Tick(policy_).vms[0].growth;
  policy::Policy next;
  ASSERT_TRUE(Restore(next).ok());
  node_.vms[0].epoch = 1;  // as the new agent counts
  const Plan plan = Tick(next);
  EXPECT_EQ(plan.vms[0].growth, growth);
  EXPECT_LT(plan.vms[0].growth, Bytes::GiB(2));
  EXPECT_EQ(plan.capacity.audit.windows, 480u);
  const policy::Together together = next.histories().together().Seen();
  EXPECT_EQ(together.observed, seconds(480 * 30));
  EXPECT_EQ(together.rise, Permyriad{1437}) << "1 GiB of 8, and a margin";
  EXPECT_EQ(together.high, Permyriad{3750});
  policy::Policy none;
  EXPECT_EQ(Tick(none).vms[0].growth, Bytes::GiB(6)) << "who knows nothing believes nothing";
}

TEST_F(HistoryFileTest, ARebootThatNobodySawEndsIt) {
  ASSERT_TRUE(HistoryFile(file_, "boot").Write(policy_.histories()).ok());
  policy::Policy next;
  ASSERT_TRUE(Restore(next).ok());
  node_.vms[0].resident = Bytes::MiB(300);
  EXPECT_EQ(Tick(next).vms[0].growth, Bytes::MiB(8192 - 300));
}

TEST_F(HistoryFileTest, OneOfAnotherBootIsNone) {
  ASSERT_TRUE(HistoryFile(file_, "boot").Write(policy_.histories()).ok());
  policy::Policy next;
  EXPECT_TRUE(Restore(next, "other").ok());
  EXPECT_TRUE(next.histories().vms().empty());
  ASSERT_EQ(std::remove(file_.c_str()), 0);
  EXPECT_TRUE(Restore(next).ok()) << "no file is none, too";
}

TEST_F(HistoryFileTest, ADamagedOneIsNotBelieved) {
  ASSERT_TRUE(HistoryFile(file_, "boot").Write(policy_.histories()).ok());
  const std::string text = Text();
  for (std::size_t i = 0; i < text.size(); i += 7) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    tree_.Write("histories.json", damaged);
    policy::Policy next;
    const Status restored = Restore(next);
    ASSERT_FALSE(restored.ok()) << i;
    EXPECT_EQ(restored.error().code(), Code::kInvalid);
    EXPECT_TRUE(next.histories().vms().empty());
  }
  for (const char* junk : {"", "\n", "1\n", "14695981039346656037\n", "[[[["}) {
    tree_.Write("histories.json", junk);
    policy::Policy next;
    EXPECT_FALSE(Restore(next).ok()) << junk;
  }
}

TEST_F(HistoryFileTest, IsWrittenAtIntervals) {
  HistoryFile file(file_, "boot");
  ASSERT_TRUE(file.Keep(policy_.histories(), node_.at.boot).ok());
  EXPECT_FALSE(host::ReadFile(file_, 1 << 20).ok());
  ASSERT_TRUE(file.Keep(policy_.histories(), node_.at.boot + kHistoryEvery).ok());
  EXPECT_FALSE(Text().empty());
}

}  // namespace
}  // namespace ullage::agent
