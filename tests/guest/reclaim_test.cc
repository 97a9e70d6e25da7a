// SPDX-License-Identifier: Apache-2.0
// A page freed in a real guest: does the host get it back, by the cgroup's charge?
#include <thread>

#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

using ReclaimTest = GuestTest;

constexpr std::int64_t kTouched = 300 * kMiB;

// The guest's program touches 300 MiB and ends; what is charged while it holds them, and after.
struct Story {
  std::int64_t before;
  std::int64_t held;
};
Story TouchAndEnd(const Lab& lab, const std::string& name) {
  Story story{};
  story.before = lab.Charge(name);
  lab.Exec(name, "hog 300 --hold 600 >/dev/null 2>&1 & echo $! >/tmp/hog");
  EXPECT_TRUE(Eventually([&] { return lab.Charge(name) > story.before + kTouched * 9 / 10; }))
      << "the guest does not touch its memory";
  story.held = lab.Charge(name);
  lab.Exec(name, "kill $(cat /tmp/hog)");
  return story;
}

TEST_F(ReclaimTest, WithoutHintingMemoryStays) {
  lab().Guest("keeper",
              {"--mem", "512", "--driver", "ullage", "--reporting", "off", "--reclaim", "off"});
  const Story story = TouchAndEnd(lab(), "keeper");
  std::this_thread::sleep_for(std::chrono::seconds(8));
  EXPECT_GT(lab().Charge("keeper"), story.held - kTouched / 10);
  EXPECT_TRUE(Hinting("keeper", "not-offered"));
}

TEST_F(ReclaimTest, WithOurModuleMemoryComesBack) {
  lab().Guest("giver", {"--mem", "512", "--driver", "ullage", "--reporting", "on"});
  ASSERT_TRUE(Hinting("giver", "on"));
  const Story story = TouchAndEnd(lab(), "giver");
  EXPECT_TRUE(Eventually([&] { return lab().Charge("giver") < story.held - kTouched * 8 / 10; },
                         std::chrono::seconds(30)))  // how soon is the bench's question
      << lab().Charge("giver") / kMiB << " MiB of " << story.held / kMiB << " are still charged";
  EXPECT_TRUE(Eventually([&] {
    return Figure(agent().Vm("giver"), "returned").value_or(0) > kTouched * 8 / 10;
  })) << agent().Vm("giver").dump();
}

TEST_F(ReclaimTest, WithTheStockDriverMemoryComesBack) {
  lab().Guest("stock", {"--mem", "512", "--driver", "stock", "--reporting", "on"});
  ASSERT_TRUE(Hinting("stock", "on"));
  const Story story = TouchAndEnd(lab(), "stock");
  EXPECT_TRUE(Eventually([&] { return lab().Charge("stock") < story.held - kTouched * 8 / 10; },
                         std::chrono::seconds(40)));
}

TEST_F(ReclaimTest, AGuestThatTouchesAgainHasNotReturned) {
  lab().Guest("again", {"--mem", "512", "--driver", "ullage", "--reporting", "on"});
  TouchAndEnd(lab(), "again");
  ASSERT_TRUE(Eventually(
      [&] { return Figure(agent().Vm("again"), "returned").value_or(0) > kTouched * 8 / 10; }));
  lab().Exec("again", "hog 300 --hold 600 >/dev/null 2>&1 & echo $! >/tmp/hog");
  EXPECT_TRUE(Eventually(
      [&] { return Figure(agent().Vm("again"), "returned").value_or(kTouched) < kTouched / 4; }));
}

TEST_F(ReclaimTest, BalloonAndStatisticsWorkAsWithTheStockDriver) {
  lab().Guest("balloon", {"--mem", "512", "--driver", "ullage", "--reporting", "on"});
  // With DEFLATE_ON_OOM the balloon's pages stay in MemTotal: they are free memory that is gone.
  const auto free = [&] {
    return std::stoll(lab().Exec("balloon", "awk '/MemFree/{print $2}' /proc/meminfo")) / 1024;
  };
  const auto before = free();
  ASSERT_EQ(lab().Virsh({"setmem", "balloon", "300M", "--live"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return free() < before - 190; })) << free() << " of " << before;
  EXPECT_TRUE(Eventually([&] {
    return Figure(agent().Vm("balloon"), "guestBalloon") == 300 * kMiB;
  })) << agent().Vm("balloon").dump();
  ASSERT_EQ(lab().Virsh({"setmem", "balloon", "512M", "--live"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return free() > before - 30; })) << free() << " of " << before;
  const std::string stats = lab().Virsh({"dommemstat", "balloon"}).text;
  for (const char* tag : {"unused", "available", "usable", "minor_fault", "disk_caches"}) {
    EXPECT_NE(stats.find(tag), std::string::npos) << tag << " in " << stats;
  }
}

}  // namespace
}  // namespace ullage::tests
