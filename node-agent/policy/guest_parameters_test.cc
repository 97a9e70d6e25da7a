// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/guest_parameters.h"

#include <gtest/gtest.h>

namespace ullage::policy {
namespace {

class GuestParametersTest : public testing::Test {
 protected:
  GuestParametersTest() {
    VmState vm;
    vm.spec.id.value = "a";
    vm.module.emplace();
    vm.module->parameters = {{"settle_ms", "100"}, {"order", "9"}};
    node_.vms.push_back(vm);
    node_.vms_listed_at = BootTime{};
    params_.guest_parameters = {{"settle_ms", "50"}};
  }
  std::map<std::string, std::string>& Shown() { return node_.vms[0].module->parameters; }
  std::map<std::string, std::string>& Written() { return node_.vms[0].module->written; }
  void Noted(const std::string& before, const std::string& written) {
    node_.guest_changes = {{{"a"}, "settle_ms", before, written}};
  }
  Plan Decided() {
    Plan plan;
    DecideGuestParameters(node_, params_, plan);
    return plan;
  }

  Snapshot node_;
  PolicyParams params_;
};

TEST_F(GuestParametersTest, SetsWhatDiffersAndNothingElse) {
  const Plan plan = Decided();
  ASSERT_EQ(plan.actions.size(), 1u);
  EXPECT_EQ(plan.actions[0].kind, Action::Kind::kSetGuestParameter);
  EXPECT_EQ(plan.actions[0].parameter, "settle_ms");
  EXPECT_EQ(plan.actions[0].value, "50");
  EXPECT_EQ(plan.actions[0].before, "100");
  EXPECT_FALSE(plan.actions[0].reason.empty());
  Shown()["settle_ms"] = "50";
  EXPECT_TRUE(Decided().actions.empty());
}

TEST_F(GuestParametersTest, WritesNothingBlind) {
  Shown().erase("settle_ms");
  EXPECT_TRUE(Decided().actions.empty());
  node_.vms[0].module.reset();
  Noted("100", "50");
  EXPECT_TRUE(Decided().actions.empty());
  EXPECT_TRUE(Decided().settled.empty()) << "what is not seen may still have to be undone";
}

TEST_F(GuestParametersTest, WhoeverChangesItInTheGuestKeepsIt) {
  Written()["settle_ms"] = "50";
  Shown()["settle_ms"] = "70";
  Noted("100", "50");
  EXPECT_TRUE(Decided().actions.empty());
  Written().clear();  // the driver was loaded anew
  EXPECT_EQ(Decided().actions.size(), 1u);
}

TEST_F(GuestParametersTest, ANewValueDoesNotForgetWhatWasBeforeTheFirst) {
  Noted("100", "70");
  Shown()["settle_ms"] = "70";
  ASSERT_EQ(Decided().actions.size(), 1u);
  EXPECT_EQ(Decided().actions[0].before, "100");
}

TEST_F(GuestParametersTest, PutsBackWhatNobodyWantsAnyMore) {
  params_.guest_parameters.clear();
  Noted("100", "50");
  Shown()["settle_ms"] = "50";
  const Plan plan = Decided();
  ASSERT_EQ(plan.actions.size(), 1u);
  EXPECT_EQ(plan.actions[0].kind, Action::Kind::kRestoreGuestParameter);
  EXPECT_EQ(plan.actions[0].value, "100");
  EXPECT_TRUE(plan.settled.empty()) << "not before it is seen";
  Shown()["settle_ms"] = "100";
  EXPECT_TRUE(Decided().actions.empty());
  EXPECT_EQ(Decided().settled.size(), 1u);
}

TEST_F(GuestParametersTest, DoesNotPutBackOverSomebodyElsesValue) {
  params_.guest_parameters.clear();
  Noted("100", "50");
  Shown()["settle_ms"] = "70";
  EXPECT_TRUE(Decided().actions.empty());
  EXPECT_EQ(Decided().settled.size(), 1u);
}

TEST_F(GuestParametersTest, AChangeEndsWithItsGuestOnceThatIsSure) {
  Noted("100", "50");
  node_.vms.clear();
  EXPECT_EQ(Decided().settled.size(), 1u);
  node_.vms_fault = "libvirt does not answer";
  EXPECT_TRUE(Decided().settled.empty());
  node_.vms_fault.clear();
  node_.vms_listed_at.reset();
  EXPECT_TRUE(Decided().settled.empty());
}

TEST(GuestParameter, CanonicalIsWhatTheDriverShows) {
  const GuestParameter& settle = *FindGuestParameter("settle_ms");
  EXPECT_EQ(Canonical(settle, "0050\n"), "50");
  EXPECT_EQ(Canonical(settle, "2000"), "2000");
  for (const char* wrong : {"", "2001", "-1", "0x10", " 5", "5 ", "99999999999", "5\n\n"}) {
    EXPECT_EQ(Canonical(settle, wrong), std::nullopt) << wrong;
  }
  const GuestParameter& reporting = *FindGuestParameter("reporting");
  EXPECT_EQ(Canonical(reporting, "Y\n"), "Y");
  EXPECT_EQ(Canonical(reporting, "false"), "N");
  EXPECT_EQ(Canonical(reporting, "2"), std::nullopt);
  EXPECT_EQ(FindGuestParameter("../reporting"), nullptr);
}

}  // namespace
}  // namespace ullage::policy
