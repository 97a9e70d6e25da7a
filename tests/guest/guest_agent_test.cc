// SPDX-License-Identifier: Apache-2.0
// The way into a guest: a real QEMU guest agent beside our driver, over a real libvirt.
#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

using nlohmann::json;

constexpr const char* kSettle = "/sys/module/ullage_balloon/parameters/settle_ms";
const std::string kConfig = "guest: {read_every: 500ms, parameters: {settle_ms: 50}}\n";

// An agent of its own, whose configuration sets a parameter; the shared lab.
class GuestAgentTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    agent().process().Signal(SIGTERM);
    agent().process().Wait();
    agent().Configure(kConfig);
    agent().Start();
  }
  void TearDown() override {
    if (agent().process().alive()) {
      agent().process().Signal(SIGTERM);
      agent().process().Wait();
    }
    agent().Configure("");
    agent().Start();
    GuestTest::TearDown();
  }

  static void Boot(const std::string& name, const std::string& allow) {
    lab().Guest(name, {"--mem", "384", "--driver", "ullage", "--reporting", "on", "--guest-agent",
                       "--allow-agent", allow});
  }
  static std::string Way(const std::string& name) { return agent().Text(name, "guestAgent"); }
  static bool WayIs(const std::string& name, const std::string& way) {
    return Eventually([&] { return Way(name) == way; });
  }
  static json Module(const std::string& name) {
    const json vm = agent().Vm(name);
    return vm.is_object() ? vm.value("guestModule", json()) : json();
  }
  // What the guest itself has.
  static std::string Settle(const std::string& name) {
    const std::string text = lab().Exec(name, std::string("cat ") + kSettle);
    return text.substr(0, text.find('\n'));
  }
  static bool SettleIs(const std::string& name, const std::string& value) {
    return Eventually([&] { return Settle(name) == value; });
  }
  static bool Shows(const std::string& name, const std::string& value) {
    return Eventually([&] {
      const json module = Module(name);
      return module.is_object() && module["parameters"].value("settle_ms", "") == value;
    });
  }
};

TEST_F(GuestAgentTest, CountersAreReadWhereTheOwnerAllowsIt) {
  Boot("open", "allow");
  ASSERT_TRUE(WayIs("open", "reads")) << agent().Vm("open").dump();
  EXPECT_TRUE(Hinting("open", "on"));
  lab().Exec("open", "hog 200");
  EXPECT_TRUE(Eventually([&] {
    return Figure(Module("open"), "reported").value_or(0) > 140 * kMiB;
  })) << Module("open").dump();
  EXPECT_EQ(Module("open").value("reporting", false), true);
  EXPECT_TRUE(Module("open")["other"].contains("passes")) << Module("open").dump();
  const Output told =
      RunProgram({Program("ullagectl"), "--socket", lab().socket(), "explain", "open"});
  EXPECT_NE(told.text.find("The guest's driver says"), std::string::npos) << told.text;
}

TEST_F(GuestAgentTest, AParameterSurvivesARebootAndIsUndoneAtTheEnd) {
  Boot("set", "allow");
  ASSERT_TRUE(SettleIs("set", "50")) << agent().Log();
  EXPECT_TRUE(Shows("set", "50"));
  lab().Command({"exec", "set", "--timeout", "5", "--", "reboot"});
  ASSERT_TRUE(Eventually([&] { return Way("set") != "reads"; }));
  ASSERT_EQ(lab().Command({"wait", "set", "90"}).status, 0);
  ASSERT_TRUE(SettleIs("set", "50")) << "the new boot's, too";
  ASSERT_TRUE(Shows("set", "50"));
  agent().process().Signal(SIGTERM);
  EXPECT_EQ(agent().process().Wait(), 0);
  EXPECT_EQ(Settle("set"), "100") << agent().Log();
}

TEST_F(GuestAgentTest, WhoeverChangesItInTheGuestKeepsIt) {
  Boot("own", "allow");
  ASSERT_TRUE(Shows("own", "50"));
  lab().Exec("own", std::string("echo 70 >") + kSettle);
  ASSERT_TRUE(Shows("own", "70"));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(Settle("own"), "70");
  agent().process().Signal(SIGTERM);
  EXPECT_EQ(agent().process().Wait(), 0);
  EXPECT_EQ(Settle("own"), "70") << "not ours any more";
}

TEST_F(GuestAgentTest, WhatAKilledAgentSetIsUndoneByTheNext) {
  Boot("left", "allow");
  ASSERT_TRUE(Shows("left", "50"));
  agent().process().Signal(SIGKILL);
  agent().process().Wait();
  EXPECT_EQ(Settle("left"), "50");
  agent().Configure("guest: {read_every: 500ms}\n");
  agent().Start();
  EXPECT_TRUE(SettleIs("left", "100")) << agent().Log();
}

TEST_F(GuestAgentTest, NobodyIsAskedWithoutLeave) {
  Boot("shut", "deny");
  lab().Guest("bare", {"--mem", "256", "--driver", "ullage", "--reporting", "on"});
  ASSERT_TRUE(WayIs("shut", "denied"));
  ASSERT_TRUE(WayIs("bare", "denied")) << "the default";
  EXPECT_TRUE(Hinting("shut", "on"));
  EXPECT_TRUE(Hinting("bare", "on")) << "and all else is as before";
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(Settle("shut"), "100");
  EXPECT_TRUE(Module("shut").is_null());
  EXPECT_EQ(lab().Virsh({"dominfo", "shut"}).text.find("custom guest agent"), std::string::npos)
      << "libvirt would have noted a question";
}

TEST_F(GuestAgentTest, AnAgentThatIsKilledIsMissedAndFoundAgain) {
  Boot("gone", "allow");
  ASSERT_TRUE(WayIs("gone", "reads"));
  lab().Exec("gone", "kill -9 $(cat /run/qemu-ga.pid)");
  ASSERT_TRUE(WayIs("gone", "not-connected")) << agent().Vm("gone").dump();
  EXPECT_TRUE(Module("gone").is_null()) << "unknown, not the old words";
  EXPECT_NE(agent().Text("gone", "state"), "stalled");
  lab().Exec("gone", "guest-agent");
  EXPECT_TRUE(WayIs("gone", "reads")) << agent().Vm("gone").dump();
}

TEST_F(GuestAgentTest, AnAgentThatHangsIsSilentAndHoldsUpNobody) {
  Boot("mute", "allow");
  ASSERT_TRUE(WayIs("mute", "reads"));
  lab().Exec("mute", "kill -STOP $(cat /run/qemu-ga.pid)");
  ASSERT_TRUE(WayIs("mute", "silent")) << agent().Vm("mute").dump();
  // While a question to the agent is open, QEMU answers and the tick goes on. Each time anew,
  // within a window: a loaded machine makes anybody late once.
  const auto tick = Figure(agent().Snapshot(), "tick");
  ASSERT_TRUE(tick);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(Eventually([&] {
      const json vm = agent().Vm("mute");
      return Figure(vm, "answeredMsAgo").value_or(1 << 20) < 1500 &&
             vm.value("state", "") != "stalled" && vm.value("hinting", "") == "on";
    })) << agent().Vm("mute").dump();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  EXPECT_EQ(Way("mute"), "silent") << "all that time";
  EXPECT_TRUE(Eventually([&] { return Figure(agent().Snapshot(), "tick") > *tick + 15; }));
  // The end does not wait for it.
  const auto begun = std::chrono::steady_clock::now();
  agent().process().Signal(SIGTERM);
  EXPECT_EQ(agent().process().Wait(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  agent().Start();
  lab().Exec("mute", "kill -CONT $(cat /run/qemu-ga.pid)");
  EXPECT_TRUE(WayIs("mute", "reads"));
}

}  // namespace
}  // namespace ullage::tests
