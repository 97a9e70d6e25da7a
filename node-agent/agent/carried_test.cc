// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/carried.h"

#include <gtest/gtest.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::agent {
namespace {

constexpr BootTime kEnd{std::chrono::hours(1)};

class CarriedTest : public testing::Test {
 protected:
  static Report Last() {
    Report report;
    report.snapshot.at.boot = kEnd;
    VmState vm;
    vm.spec.id.value = "a";
    vm.cgroup = 17;
    vm.resident = Bytes::MiB(300);
    vm.watched_since = kEnd - seconds(900);
    report.snapshot.vms = {vm};
    vm.spec.id.value = "unknown";
    vm.resident.reset();
    report.snapshot.vms.push_back(vm);
    report.plan.capacity.terms.emplace();
    report.plan.carry.additional = Bytes::GiB(2);
    report.plan.carry.granted = Bytes::MiB(768);
    return report;
  }
  auto Take(BootTime now = kEnd + seconds(10), const std::string& boot = "boot") const {
    return TakeCarried(file_, boot, now);
  }
  host::TemporaryTree tree_;
  const std::string file_ = tree_.path("carried.json");
};

TEST_F(CarriedTest, IsTakenUpOnce) {
  ASSERT_TRUE(LeaveCarried(file_, "boot", Last()).ok());
  const auto taken = Take();
  ASSERT_TRUE(taken.ok()) << taken.error().message();
  ASSERT_TRUE(*taken);
  const Inherited& inherited = **taken;
  EXPECT_EQ(inherited.additional, Bytes::GiB(2));
  EXPECT_EQ(inherited.granted, Bytes::MiB(768));
  EXPECT_EQ(inherited.until, kEnd + kInheritedFor);
  ASSERT_EQ(inherited.vms.size(), 1u) << "a VM of unknown charge cannot be known again";
  EXPECT_EQ(inherited.vms[0].id.value, "a");
  EXPECT_EQ(inherited.vms[0].cgroup, 17u);
  EXPECT_EQ(inherited.vms[0].resident, Bytes::MiB(300));
  EXPECT_EQ(inherited.vms[0].watched_since, kEnd - seconds(890)) << "nobody watched for 10 s";
  const auto again = Take();
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(*again);
}

TEST_F(CarriedTest, IsWorthNothingInAnotherBootOrLater) {
  ASSERT_TRUE(LeaveCarried(file_, "boot", Last()).ok());
  EXPECT_FALSE(*Take(kEnd + seconds(1), "another"));
  ASSERT_TRUE(LeaveCarried(file_, "boot", Last()).ok());
  EXPECT_FALSE(*Take(kEnd + kInheritedFor));
}

TEST_F(CarriedTest, NothingIsLeftByATickThatKnewTooLittle) {
  Report blind = Last();
  blind.plan.capacity.terms.reset();
  ASSERT_TRUE(LeaveCarried(file_, "boot", blind).ok());
  EXPECT_FALSE(*Take());
}

TEST_F(CarriedTest, NonsenseIsSaidOnceAndForgotten) {
  const auto with = [](const std::string& vm) {
    return R"({"version":1,"boot_id":"boot","left_at":5000,"additional":1,"granted":0,"vms":[)" +
           vm + "]}";
  };
  for (const std::string& text :
       {std::string(), std::string("x"), std::string("[]"), std::string(R"({"version":2})"),
        std::string(R"({"version":1,"boot_id":"boot"})"), with("1"), with("{}"),
        with(R"({"id":"","cgroup":1,"resident":1,"watched_since":1})"),
        with(R"({"id":"a","cgroup":1,"resident":-1,"watched_since":1})"),
        with(R"({"id":"a","cgroup":1,"resident":1,"watched_since":5001})"),
        std::string(R"({"version":1,"boot_id":"boot","left_at":9223372036854775807,)"
                    R"("additional":1,"granted":0,"vms":[]})")}) {
    tree_.Write("carried.json", text);
    const auto taken = Take(BootTime(seconds(10)));
    ASSERT_FALSE(taken.ok()) << text;
    EXPECT_EQ(taken.error().code(), Code::kInvalid) << text;
    EXPECT_TRUE(Take().ok()) << "once: " << text;
  }
}

}  // namespace
}  // namespace ullage::agent
