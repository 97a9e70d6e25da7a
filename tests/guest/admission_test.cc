// SPDX-License-Identifier: Apache-2.0
// A plain `virsh start`, refused and admitted by libvirt's own hook.
#include <signal.h>

#include <filesystem>
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
  std::int64_t Capacity(const char* term) const {
    return Figure(agent().Snapshot()["capacity"], term).value_or(0);
  }
};

TEST_F(AdmissionTest, RefusedWhenFullAndAdmittedOnReturnedMemory) {
  Fill();
  for (const char* name : {"a", "b", "c"}) {
    lab().Exec(name, "hog 800 --hold 600 >/dev/null 2>&1 & echo $! >/tmp/hog");
  }
  ASSERT_TRUE(Eventually([&] { return Capacity("additional") == 0; }, std::chrono::seconds(60)));
  const Output refused = lab().Virsh({"start", "extra"});
  EXPECT_NE(refused.status, 0);
  EXPECT_NE(refused.text.find("no room"), std::string::npos) << refused.text;

  for (const char* name : {"a", "b", "c"}) lab().Exec(name, "kill $(cat /tmp/hog)");
  ASSERT_TRUE(
      Eventually([&] { return Capacity("additional") + Capacity("unsold") >= 1160 * kMiB; }));
  const Output standard = lab().Virsh({"start", "plain"});
  EXPECT_NE(standard.status, 0) << "its owner did not place it on reclaimed memory";
  EXPECT_NE(standard.text.find("placement is standard"), std::string::npos) << standard.text;

  lab().Boot("extra");
  EXPECT_NE(lab().Exec("extra", "hog 700").find("touched 700 MiB"), std::string::npos);
  const auto vm = agent().Vm("extra");
  EXPECT_GT(Figure(vm, "reclaimed").value_or(0), 0) << vm.dump();
  EXPECT_EQ(Capacity("granted"), Figure(vm, "reclaimed").value_or(-1));
  EXPECT_GE(Capacity("published"), Capacity("granted"));
  for (const char* name : {"a", "b", "c", "extra"}) {
    EXPECT_EQ(lab().Exec(name, "echo alive"), "alive\n");
  }
  ASSERT_EQ(lab().Virsh({"destroy", "extra"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return Capacity("granted") == 0; })) << "released by the hook";
}

TEST_F(AdmissionTest, AReservationSurvivesTheAgent) {
  Fill();
  ASSERT_TRUE(
      Eventually([&] { return Capacity("additional") + Capacity("unsold") >= 1160 * kMiB; }));
  lab().Boot("extra");
  ASSERT_TRUE(Eventually([&] { return Capacity("granted") > 0; }));
  const std::int64_t granted = Capacity("granted");
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
  EXPECT_EQ(start.Wait(std::chrono::seconds(30)), 0);
}

TEST_F(AdmissionTest, WithoutAnAgentNothingStartsAndTheReasonIsSaid) {
  lab().Define("orphan", {"--mem", "256"});
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
