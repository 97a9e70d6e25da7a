// SPDX-License-Identifier: Apache-2.0
// A plain `virsh start`, refused and admitted by libvirt's own hook.
#include <signal.h>

#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>

#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

class AdmissionTest : public GuestTest {
 protected:
  // 4096 MiB for VMs that are each promised 1024 + 136 MiB: three fit, a fourth does not.
  static std::vector<std::string> Large(const std::string& placement = "standard") {
    return {"--mem", "1024", "--driver", "ullage", "--reporting", "on", "--placement", placement};
  }
  void Fill() {
    for (const char* name : {"a", "b", "c"}) lab().Guest(name, Large());
    lab().Define("extra", Large("reclaimed"));
    lab().Define("plain", Large("standard"));
  }
  static constexpr std::int64_t kLarge = 1160 * kMiB;

  static std::optional<std::int64_t> Capacity(const char* term) { return agent().Capacity(term); }
  // Both from one snapshot: is there room for a large VM on unsold and returned memory together?
  static bool RoomForOne() {
    const auto snapshot = agent().Snapshot();
    if (!snapshot.is_object() || !snapshot.contains("capacity")) return false;
    const auto additional = Figure(snapshot["capacity"], "additional");
    const auto unsold = Figure(snapshot["capacity"], "unsold");
    return additional && unsold && *additional + *unsold >= kLarge;
  }
  // Well before a grant without a QEMU is dropped (60 s): that would hide one written by mistake.
  static bool PromisedFallsTo(std::int64_t bytes) {
    return Eventually([&] { return Capacity("promised") == bytes; }, std::chrono::seconds(20));
  }
  // Nobody here starts a VM behind the hook, so the agent has none to find: one that it finds is
  // one that ended, written down once more.
  static std::string Ghosts(std::size_t log_from) {
    std::istringstream lines(agent().Log(log_from));
    std::string ghosts;
    for (std::string line; std::getline(lines, line);) {
      if (line.find("runs without having asked") != std::string::npos ||
          line.find("admitted and never ran") != std::string::npos) {
        ghosts += line + "\n";
      }
    }
    return ghosts;
  }
};

TEST_F(AdmissionTest, RefusedWhenFullAndAdmittedOnReturnedMemory) {
  Fill();
  for (const char* name : {"a", "b", "c"}) {
    lab().Exec(name, "hog 800 --hold 600 >/dev/null 2>&1 & echo $! >/tmp/hog");
  }
  ASSERT_TRUE(Eventually([&] { return Capacity("additional") == 0; }));
  const Output refused = lab().Virsh({"start", "extra"});
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.text.find("no room"), std::string::npos) << refused.text;

  for (const char* name : {"a", "b", "c"}) lab().Exec(name, "kill $(cat /tmp/hog)");
  ASSERT_TRUE(Eventually([&] { return RoomForOne(); }));
  const Output standard = lab().Virsh({"start", "plain"});
  EXPECT_NE(standard.status, 0) << "its owner did not place it on reclaimed memory";
  EXPECT_NE(standard.text.find("placement is standard"), std::string::npos) << standard.text;

  lab().Boot("extra");
  EXPECT_NE(lab().Exec("extra", "hog 700").find("touched 700 MiB"), std::string::npos);
  const auto vm = agent().Vm("extra");
  const auto reclaimed = Figure(vm, "reclaimed");
  ASSERT_TRUE(reclaimed) << vm.dump();
  EXPECT_GT(*reclaimed, 0) << vm.dump();
  EXPECT_EQ(Capacity("granted"), reclaimed);
  const auto of_extra = Figure(vm, "promised");  // what it took of reclaimed memory is rounded up
  ASSERT_TRUE(of_extra);
  EXPECT_GE(*of_extra, kLarge);
  EXPECT_EQ(Capacity("promised"), 3 * kLarge + *of_extra);
  const auto published = Capacity("published");
  ASSERT_TRUE(published);
  EXPECT_GE(*published, *reclaimed);
  for (const char* name : {"a", "b", "c", "extra"}) {
    EXPECT_EQ(lab().Exec(name, "echo alive"), "alive\n");
  }
  const std::size_t logged = agent().Log().size();
  ASSERT_EQ(lab().Virsh({"destroy", "extra"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return Capacity("granted") == 0; })) << "released by the hook";
  EXPECT_TRUE(PromisedFallsTo(3 * kLarge)) << agent().Snapshot()["capacity"].dump();
  EXPECT_EQ(Ghosts(logged), "");
}

TEST_F(AdmissionTest, AVmStartsAgainAtOnceOnAFullHost) {
  for (const char* name : {"a", "b", "h"}) lab().Guest(name, Large());
  lab().Define("fourth", Large());
  ASSERT_NE(lab().Virsh({"start", "fourth"}).status, 0) << "the host is full";
  const std::size_t logged = agent().Log().size();
  for (int i = 0; i < 5; ++i) {
    // In one shell: nothing but virsh itself is between the two.
    const Output again =
        RunProgram(lab().Inside({"sh", "-c", "virsh --quiet destroy h && virsh --quiet start h"}));
    ASSERT_EQ(again.status, 0) << "time " << i + 1 << ": " << again.text;
  }
  EXPECT_TRUE(PromisedFallsTo(3 * kLarge)) << agent().Snapshot()["capacity"].dump();
  EXPECT_NE(lab().Virsh({"start", "fourth"}).status, 0) << "and it is full still";
  EXPECT_EQ(Ghosts(logged), "");
}

TEST_F(AdmissionTest, ManyStartsLeaveThePromiseRight) {
  ASSERT_TRUE(Eventually([&] { return Capacity("promised") == 0; }));
  lab().Guest("cycler", {"--mem", "256", "--driver", "ullage", "--reporting", "on"});
  std::optional<std::int64_t> promised;
  ASSERT_TRUE(Eventually([&] {
    promised = Figure(agent().Vm("cycler"), "promised");
    return promised && *promised >= 256 * kMiB && Capacity("promised") == promised;
  })) << agent().Snapshot().dump();
  const std::size_t logged = agent().Log().size();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(lab().Virsh({"destroy", "cycler"}).status, 0);
    // Now and then a tick between the two, mostly none.
    if (i % 3 == 2) {
      EXPECT_TRUE(PromisedFallsTo(0)) << agent().Snapshot()["capacity"].dump();
    }
    const Output started = lab().Virsh({"start", "cycler"});
    ASSERT_EQ(started.status, 0) << started.text;
  }
  EXPECT_TRUE(PromisedFallsTo(*promised)) << agent().Snapshot()["capacity"].dump();
  ASSERT_EQ(lab().Virsh({"destroy", "cycler"}).status, 0);
  EXPECT_TRUE(PromisedFallsTo(0)) << agent().Snapshot()["capacity"].dump();
  EXPECT_EQ(Ghosts(logged), "");
}

TEST_F(AdmissionTest, AReservationSurvivesTheAgent) {
  Fill();
  ASSERT_TRUE(Eventually([&] { return RoomForOne(); }));
  lab().Boot("extra");
  std::optional<std::int64_t> granted;
  ASSERT_TRUE(Eventually([&] {
    granted = Capacity("granted");
    return granted && *granted > 0;
  }));
  agent().Restart(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return Capacity("granted") == granted; }))
      << agent().Snapshot().dump();
  EXPECT_TRUE(Hinting("extra", "on"));
  EXPECT_EQ(agent().Log().find("extra runs without having asked"), std::string::npos);
}

TEST_F(AdmissionTest, AStartWaitsForAnAgentThatRestarts) {
  lab().Define("patient", {"--mem", "256", "--driver", "ullage", "--reporting", "on"});
  agent().process().Signal(SIGTERM);
  agent().process().Wait();
  Process start(lab().Inside({"virsh", "--quiet", "start", "patient"}), lab().dir() + "/virsh.log");
  std::this_thread::sleep_for(std::chrono::seconds(1));
  EXPECT_TRUE(start.alive()) << "the hook waits";
  agent().Start();
  EXPECT_EQ(start.Wait(std::chrono::seconds(90)), 0);
}

TEST_F(AdmissionTest, WithoutAnAgentNothingStartsAndTheReasonIsSaid) {
  lab().Define("orphan", {"--mem", "256"});
  lab().SetHookWait(std::chrono::seconds(2));
  agent().process().Signal(SIGTERM);
  agent().process().Wait();
  const Output output = lab().Virsh({"start", "orphan"});
  EXPECT_NE(output.status, 0);
  EXPECT_NE(output.text.find("agent"), std::string::npos) << output.text;
}

TEST_F(AdmissionTest, GuestsThatLibvirtStartsByItselfAreAdmitted) {
  lab().Guest("early", {"--mem", "256", "--driver", "ullage", "--reporting", "on"});
  ASSERT_EQ(lab().Virsh({"autostart", "early"}).status, 0);
  ASSERT_EQ(lab().Virsh({"destroy", "early"}).status, 0);
  // As after a boot: the agent is up first, and libvirtd starts guests before it answers anybody.
  ASSERT_EQ(lab().Command({"kill-libvirtd"}).status, 0);
  agent().Restart(SIGTERM);
  std::filesystem::remove(lab().dir() + "/run/qemu/autostarted");
  ASSERT_EQ(lab().Command({"start-libvirtd"}).status, 0);
  EXPECT_EQ(lab().Virsh({"domstate", "early"}).text, "running\n");
}

TEST_F(AdmissionTest, AReconnectingLibvirtdKeepsItsGuests) {
  lab().Guest("kept", {"--mem", "256", "--driver", "ullage", "--reporting", "on"});
  agent().process().Signal(SIGTERM);
  agent().process().Wait();
  ASSERT_EQ(lab().Command({"restart-libvirtd"}).status, 0)
      << "the hook's reconnect never blocks it";
  EXPECT_EQ(lab().Virsh({"domstate", "kept"}).text, "running\n");
  agent().Start();
  EXPECT_TRUE(Hinting("kept", "on"));
}

}  // namespace
}  // namespace ullage::tests
