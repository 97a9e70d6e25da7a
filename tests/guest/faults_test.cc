// SPDX-License-Identifier: Apache-2.0
// What goes wrong on a real host: reboots, killed and stopped QEMUs, a libvirt that restarts or
// hangs, cgroups that vanish.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

class FaultTest : public GuestTest {
 protected:
  // Does the agent name anything that is wrong?
  static bool Troubled() {
    const auto snapshot = agent().Snapshot();
    return snapshot.contains("conditions") && !snapshot["conditions"].empty();
  }
  // … or does it answer, and name nothing?
  static bool Well() { return agent().Snapshot().is_object() && !Troubled(); }
  static std::optional<std::int64_t> Tick() { return Figure(agent().Snapshot(), "tick"); }
  static bool TicksBeyond(std::int64_t number) {
    return Eventually([&] {
      const auto tick = Tick();
      return tick && *tick > number;
    });
  }
};

std::vector<std::string> Small() {
  return {"--mem", "384", "--driver", "ullage", "--reporting", "on"};
}

TEST_F(FaultTest, AGuestRebootIsANewEpochAndHintingIsProvenAnew) {
  lab().Guest("reborn", Small());
  ASSERT_TRUE(Hinting("reborn", "on"));
  const auto epoch = Figure(agent().Vm("reborn"), "epoch");
  ASSERT_TRUE(epoch);
  const pid_t pid = lab().Pid("reborn");
  lab().Command({"exec", "reborn", "--timeout", "5", "--", "reboot"});
  ASSERT_TRUE(Eventually([&] { return Figure(agent().Vm("reborn"), "epoch") > epoch; }))
      << agent().Vm("reborn").dump();
  ASSERT_EQ(lab().Command({"wait", "reborn", "90"}).status, 0);
  EXPECT_EQ(lab().Pid("reborn"), pid) << "the same QEMU";
  EXPECT_TRUE(Hinting("reborn", "on"));
  lab().Exec("reborn", "hog 200");
  EXPECT_TRUE(Eventually([&] {
    return Figure(agent().Vm("reborn"), "returned").value_or(0) > 140 * kMiB;
  })) << agent().Vm("reborn").dump();
}

TEST_F(FaultTest, AGuestThatUnloadsItsDriverIsFoundOut) {
  lab().Guest("quitter", Small());
  ASSERT_TRUE(Hinting("quitter", "on"));
  lab().Exec("quitter", "rmmod ullage_balloon");
  EXPECT_TRUE(Hinting("quitter", "not-negotiated"));
}

TEST_F(FaultTest, AGuestWithoutADriverHasNotNegotiated) {
  lab().Guest("bare", {"--mem", "256", "--driver", "none", "--reporting", "on"});
  EXPECT_TRUE(Hinting("bare", "not-negotiated"));
}

TEST_F(FaultTest, ADomainWithoutABalloonIsSaidToHaveNone) {
  lab().Guest("none", {"--mem", "256", "--driver", "none", "--no-balloon"});
  EXPECT_TRUE(Hinting("none", "no-balloon"));
  EXPECT_TRUE(Eventually([&] { return Figure(agent().Vm("none"), "resident").has_value(); }))
      << "and its memory is still counted";
}

TEST_F(FaultTest, HintingIsSwitchedOnForTheNextStart) {
  lab().Guest("later", {"--mem", "256", "--driver", "ullage", "--reporting", "off"});
  ASSERT_TRUE(Hinting("later", "not-offered"));
  ASSERT_TRUE(Eventually([&] {
    const auto vm = agent().Vm("later");
    return vm.is_object() && vm.value("hintingAtNextStart", false);
  })) << agent().Vm("later").dump();
  ASSERT_EQ(lab().Virsh({"destroy", "later"}).status, 0);
  lab().Boot("later");
  EXPECT_TRUE(Hinting("later", "on"));
}

TEST_F(FaultTest, AKilledQemuIsGoneAndItsPromiseIsFree) {
  lab().Guest("victim", Small());
  lab().Guest("bystander", Small());
  ASSERT_TRUE(Hinting("victim", "on"));
  const auto promised = agent().Capacity("promised");
  const auto of_victim = Figure(agent().Vm("victim"), "promised");
  ASSERT_TRUE(promised);
  ASSERT_TRUE(of_victim);
  kill(lab().Pid("victim"), SIGKILL);
  EXPECT_TRUE(Eventually([&] {
    const auto snapshot = agent().Snapshot();  // an agent that does not answer shows no VM either
    return snapshot.is_object() && agent().Vm("bystander").is_object() &&
           agent().Vm("victim").is_null();
  }));
  EXPECT_TRUE(Eventually([&] { return agent().Capacity("promised") == *promised - *of_victim; }))
      << agent().Snapshot()["capacity"].dump();
  EXPECT_TRUE(Hinting("bystander", "on"));
}

TEST_F(FaultTest, AStoppedQemuStallsAloneAndComesBack) {
  lab().Guest("frozen", Small());
  lab().Guest("lively", Small());
  ASSERT_TRUE(Hinting("frozen", "on"));
  ASSERT_TRUE(Hinting("lively", "on"));
  const pid_t pid = lab().Pid("frozen");
  kill(pid, SIGSTOP);
  EXPECT_TRUE(Eventually([&] { return agent().Text("frozen", "state") == "stalled"; }))
      << agent().Vm("frozen").dump();
  EXPECT_TRUE(Figure(agent().Vm("frozen"), "resident")) << "its cgroup is read all the same";
  EXPECT_EQ(agent().Text("frozen", "hinting"), "unknown") << "unknown, neither on nor off";
  // The other one goes on being asked, and answers. A guest that a loaded machine makes late once
  // is not a guest that waits for this one: so each time anew, within a window.
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(Eventually([&] {
      const auto vm = agent().Vm("lively");
      const auto answered = Figure(vm, "answeredMsAgo");
      return answered && *answered < 1500 && vm.value("state", "") != "stalled" &&
             vm.value("hinting", "") == "on";
    })) << agent().Vm("lively").dump();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_EQ(agent().Text("frozen", "state"), "stalled") << "all that time";
  kill(pid, SIGCONT);
  EXPECT_TRUE(Hinting("frozen", "on"));
}

TEST_F(FaultTest, ALibvirtdThatRestartsIsFoundAgain) {
  lab().Guest("steady", Small());
  ASSERT_TRUE(Hinting("steady", "on"));
  ASSERT_EQ(lab().Command({"kill-libvirtd"}).status, 0);
  ASSERT_TRUE(Eventually([&] { return Troubled(); }));
  EXPECT_TRUE(Figure(agent().Vm("steady"), "resident")) << "the cgroup still tells";
  const auto tick = Tick();
  ASSERT_TRUE(tick);
  EXPECT_TRUE(TicksBeyond(*tick + 3));
  ASSERT_EQ(lab().Command({"start-libvirtd"}).status, 0);
  EXPECT_TRUE(Hinting("steady", "on"));
  EXPECT_TRUE(Eventually([&] { return Well(); })) << agent().Snapshot()["conditions"].dump();
}

TEST_F(FaultTest, ALibvirtdThatHangsDoesNotStopTheTick) {
  lab().Guest("steady", Small());
  ASSERT_TRUE(Hinting("steady", "on"));
  const std::string status = lab().Command({"status"}).text;
  const pid_t libvirtd = std::stoi(status.substr(status.find("libvirtd ") + 9));
  kill(libvirtd, SIGSTOP);
  const auto tick = Tick();
  const bool went_on = tick && TicksBeyond(*tick + 10);
  kill(libvirtd, SIGCONT);
  EXPECT_TRUE(tick);
  EXPECT_TRUE(went_on) << "while libvirtd was stopped";
  EXPECT_TRUE(Hinting("steady", "on"));
}

TEST_F(FaultTest, ACgroupThatVanishesWhileItIsReadIsFoundAnew) {
  lab().Guest("nomad", Small());
  ASSERT_TRUE(Eventually([&] { return Figure(agent().Vm("nomad"), "resident").has_value(); }));
  const std::string home = lab().Command({"cgroup", "nomad"}).text;
  const std::filesystem::path old = home.substr(0, home.find('\n'));
  const std::filesystem::path other = old.parent_path() / "elsewhere";
  const pid_t pid = lab().Pid("nomad");
  std::filesystem::create_directory(other);
  // Back and forth under the reader's eyes; each move leaves an empty cgroup that is removed. For a
  // moment after the move the kernel may still count the process there: EBUSY.
  const auto move = [&](const std::filesystem::path& to, const std::filesystem::path& from) {
    const Output moved = RunProgram(
        {"sh", "-c", "echo " + std::to_string(pid) + " >" + (to / "cgroup.procs").string()});
    EXPECT_EQ(moved.status, 0) << moved.text;
    int error = 0;
    EXPECT_TRUE(Eventually([&] {
      error = rmdir(from.c_str()) == 0 ? 0 : errno;
      return error != EBUSY;
    }));
    EXPECT_EQ(error, 0) << std::strerror(error) << ": " << from;
  };
  for (int i = 0; i < 20; ++i) {
    if (i % 2 == 0) {
      move(other, old);
      std::filesystem::create_directory(old);
    } else {
      move(old, other);
      std::filesystem::create_directory(other);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(70));
  }
  std::filesystem::remove(other);
  EXPECT_TRUE(agent().process().alive());
  // Of its own cgroup, by what that itself says: an ancestor's charge would be a figure too.
  const auto stands_for_itself = [&] {
    const auto resident = Figure(agent().Vm("nomad"), "resident");
    return resident && std::abs(*resident - lab().Charge("nomad")) < 64 * kMiB;
  };
  EXPECT_TRUE(Eventually(stands_for_itself))
      << agent().Vm("nomad").dump() << " with " << lab().Charge("nomad") << " charged";
}

TEST_F(FaultTest, TheAgentLeavesNothingBehind) {
  lab().Guest("guest", Small());
  AgentInLab* const last = &agent();
  const std::size_t logged = last->Log().size();  // earlier ones have ended as well
  last->process().Signal(SIGTERM);
  EXPECT_EQ(last->process().Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(lab().socket()));
  EXPECT_NE(last->Log(logged).find("ending"), std::string::npos) << last->Log(logged);
}

}  // namespace
}  // namespace ullage::tests
