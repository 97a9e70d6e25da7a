// SPDX-License-Identifier: Apache-2.0
#include "node-agent/admission/ledger.h"

#include <gtest/gtest.h>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::admission {
namespace {

Grant Entry(const char* id) {
  Grant grant;
  grant.spec.id.value = id;
  grant.spec.name = "vm \"1\" 樽";
  grant.spec.guest_memory = Bytes::MiB(512);
  grant.spec.vcpus = 2;
  grant.spec.placement = Placement::kReclaimed;
  grant.spec.reclaim = Reclaim::kHybrid;
  grant.ordinary = Bytes::MiB(100);
  grant.reclaimed = Bytes::MiB(448);
  grant.since = WallTime(seconds(1800000000));
  return grant;
}

class LedgerTest : public testing::Test {
 protected:
  std::unique_ptr<Ledger> Open(const char* boot = "boot-1") {
    auto ledger = Ledger::Open(file_, boot);
    EXPECT_TRUE(ledger.ok()) << ledger.error().message();
    return std::move(*ledger);
  }
  host::TemporaryTree tree_;
  const std::string file_ = tree_.path("state/ledger.json");
};

TEST_F(LedgerTest, SurvivesTheAgent) {
  ASSERT_TRUE(Open()->Put(Entry("a")).ok());
  auto ledger = Open();
  const auto grant = ledger->Find({"a"});
  ASSERT_TRUE(grant);
  EXPECT_EQ(grant->spec.name, "vm \"1\" 樽");
  EXPECT_EQ(grant->spec.guest_memory, Bytes::MiB(512));
  EXPECT_EQ(grant->spec.vcpus, 2u);
  EXPECT_EQ(grant->spec.placement, Placement::kReclaimed);
  EXPECT_EQ(grant->spec.reclaim, Reclaim::kHybrid);
  EXPECT_EQ(grant->ordinary, Bytes::MiB(100));
  EXPECT_EQ(grant->reclaimed, Bytes::MiB(448));
  EXPECT_EQ(grant->since, WallTime(seconds(1800000000)));
  EXPECT_FALSE(ledger->complete());
  ASSERT_TRUE(ledger->PutAll({Entry("b")}, true).ok());
  ledger.reset();
  EXPECT_TRUE(Open()->complete());
  EXPECT_EQ(Open()->Grants().size(), 2u);
}

TEST_F(LedgerTest, DoesNotSurviveTheBoot) {
  ASSERT_TRUE(Open()->PutAll({Entry("a")}, true).ok());
  const auto ledger = Open("boot-2");
  EXPECT_TRUE(ledger->Grants().empty());
  EXPECT_FALSE(ledger->complete());
  EXPECT_EQ(ledger->trouble(), "");
}

TEST_F(LedgerTest, ForgetsWhatIsReleased) {
  auto ledger = Open();
  ASSERT_TRUE(ledger->Put(Entry("a")).ok());
  EXPECT_TRUE(*ledger->Remove({"a"}));
  EXPECT_FALSE(*ledger->Remove({"a"}));
  ledger.reset();
  EXPECT_TRUE(Open()->Grants().empty());
}

TEST_F(LedgerTest, GarbageIsMovedAsideAndSaid) {
  const char* bad[] = {
      "",
      "x",
      "[]",
      "{}",
      "{\"version\":2}",
      "{\"version\":1,\"boot_id\":7}",
      "{\"version\":1,\"boot_id\":\"boot-1\",\"grants\":{}}",
      "{\"version\":1,\"boot_id\":\"boot-1\",\"grants\":[{\"uuid\":\"a\"}]}",
      "{\"version\":1,\"boot_id\":\"boot-1\",\"grants\":[{\"uuid\":\"a\",\"name\":\"a\","
      "\"guest_memory\":-1,\"vcpus\":1,\"placement\":\"standard\",\"reclaim\":\"off\","
      "\"ordinary\":0,\"reclaimed\":0,\"since\":0}]}"};
  for (const char* text : bad) {
    tree_.Write("state/ledger.json", text);
    const auto ledger = Open();
    EXPECT_NE(ledger->trouble().find("ledger.json.bad"), std::string::npos) << text;
    EXPECT_TRUE(ledger->Grants().empty()) << text;
    EXPECT_EQ(*host::ReadFile(file_ + ".bad", 4096), text);
    EXPECT_TRUE(ledger->Put(Entry("a")).ok()) << "and goes on";
  }
}

TEST_F(LedgerTest, BelongsToOneAgent) {
  const auto first = Open();
  const auto second = Ledger::Open(file_, "boot-1");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kExists);
}

TEST_F(LedgerTest, SaysAtOnceThatItCannotBeWritten) {
  tree_.Write("state", "a file where the folder should be");
  EXPECT_FALSE(Ledger::Open(file_, "boot-1").ok());
}

TEST_F(LedgerTest, AChangeThatCannotBeWrittenHasNoEffect) {
  const auto ledger = Open();
  tree_.Remove("state");
  EXPECT_FALSE(ledger->Put(Entry("a")).ok());
  EXPECT_TRUE(ledger->Grants().empty());
}

}  // namespace
}  // namespace ullage::admission
