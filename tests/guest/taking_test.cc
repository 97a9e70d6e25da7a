// SPDX-License-Identifier: Apache-2.0
// What was taken from a guest comes back, whatever happens to the agent: a real guest, balloon and
// cgroup.
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/lease.h"
#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

constexpr const char* kReclaim = "mode: reclaim\n";

// An agent of its own in mode reclaim; the shared lab.
class TakingTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    End(SIGTERM);
    agent().Configure(kReclaim);
    agent().Start();
    lab().Guest("vm",
                {"--mem", "512", "--driver", "stock", "--reporting", "on", "--reclaim", "hybrid"});
    uuid_ = lab().Virsh({"domuuid", "vm"}).text.substr(0, 36);
    boot_id_ = host::BootId(host::Roots{}).value();
  }
  void TearDown() override {
    End(SIGTERM);
    EXPECT_TRUE(Eventually([&] { return !host::KeeperLives(State()); }))
        << "it ends once nothing is left to undo";
    agent().Configure("");
    agent().Start();
    GuestTest::TearDown();
  }
  static void End(int signal) {
    if (!agent().process().alive()) return;
    agent().process().Signal(signal);
    agent().process().Wait();
  }
  static std::string State() { return lab().dir() + "/run/ullage"; }
  static std::int64_t Balloon() {
    const std::string text = lab().Virsh({"dommemstat", "vm"}).text;
    const auto at = text.find("actual ");
    return at == std::string::npos ? 0 : std::stoll(text.substr(at + 7)) / 1024;
  }

  // Leases a limit that is far above what the guest holds, in the name of the agent: the host need
  // not run short for it.
  void LeaseALimit() {
    const std::string path = host::MemoryCgroupOf(host::Roots{}, lab().Pid("vm")).value();
    const auto v2 = host::LeasableFile::Open(host::Roots{}, path, 0, host::kHigh);
    const std::string name(v2.ok() && v2->Read().ok() ? host::kHigh : host::kV1Limit);
    file_.emplace(host::LeasableFile::Open(host::Roots{}, path, 0, name).value());
    was_ = file_->Read().value();
    auto book = host::LeaseBook::Open(State(), boot_id_);
    ASSERT_TRUE(book.ok());
    const auto limit = Bytes::GiB(2);
    ASSERT_TRUE(book->Change([&](host::Leases& leases) {
                      leases.values[{uuid_, name}] = {path, file_->inode(), was_, was_, limit};
                    })
                    .ok());
    ASSERT_TRUE(file_->Write(limit).ok());
    ASSERT_EQ(file_->Read().value(), limit);
  }
  bool Restored() const {
    return Eventually([&] { return file_->Read().value() == was_; });
  }

  std::string uuid_, boot_id_;
  std::optional<host::LeasableFile> file_;
  std::optional<Bytes> was_;
};

TEST_F(TakingTest, ALimitIsTakenAwayAfterTheAgentWasKilled) {
  ASSERT_TRUE(Eventually([] { return host::KeeperLives(State()); })) << agent().Log();
  agent().process().Signal(SIGSTOP);  // so that it is not the agent that undoes it
  LeaseALimit();
  End(SIGKILL);
  EXPECT_TRUE(Restored());
  EXPECT_TRUE(host::LeaseBook::Open(State(), boot_id_)->leases().values.empty());
}

TEST_F(TakingTest, ALimitIsTakenAwayWhileTheAgentIsStuck) {
  ASSERT_TRUE(Eventually([] { return host::KeeperLives(State()); })) << agent().Log();
  agent().process().Signal(SIGSTOP);
  LeaseALimit();
  EXPECT_TRUE(Restored());
  agent().process().Signal(SIGCONT);
}

TEST_F(TakingTest, ABalloonIsGivenBackByTheNextAgent) {
  ASSERT_TRUE(Eventually([] { return Balloon() == 512; }));
  End(SIGKILL);
  auto book = host::LeaseBook::Open(State(), boot_id_);
  ASSERT_TRUE(
      book->Change([&](host::Leases& leases) { leases.balloons[uuid_] = Bytes::MiB(512); }).ok());
  ASSERT_EQ(lab().Virsh({"setmem", "vm", "256M", "--live"}).status, 0);
  ASSERT_TRUE(Eventually([] { return Balloon() == 256; })) << Balloon();
  agent().Start();
  EXPECT_TRUE(Eventually([] { return Balloon() == 512; })) << Balloon() << agent().Log();
  EXPECT_TRUE(Eventually(
      [&] { return host::LeaseBook::Open(State(), boot_id_)->leases().balloons.empty(); }));
}

// Compressed swap of a test's own. Linux's Documentation/admin-guide/blockdev/zram.rst.
class Zram {
 public:
  static constexpr const char* kControl = "/sys/class/zram-control";
  static bool Possible() {
    RunProgram({"modprobe", "zram", "num_devices=0"});
    return access((std::string(kControl) + "/hot_add").c_str(), R_OK) == 0;
  }
  Zram() : number_(std::stoi(host::ReadFile(std::string(kControl) + "/hot_add", 16).value())) {
    std::ofstream("/sys/block/zram" + std::to_string(number_) + "/disksize") << "512M";
    EXPECT_EQ(RunProgram({"mkswap", Device()}).status, 0);
    EXPECT_EQ(RunProgram({"swapon", Device()}).status, 0);
  }
  Zram(const Zram&) = delete;
  Zram& operator=(const Zram&) = delete;
  ~Zram() {
    EXPECT_EQ(RunProgram({"swapoff", Device()}).status, 0);
    std::ofstream(std::string(kControl) + "/hot_remove") << number_;
  }

 private:
  std::string Device() const { return "/dev/zram" + std::to_string(number_); }
  int number_;
};

TEST_F(TakingTest, WhatAGuestDoesNotUseGoesToSwapAndNothingIsLimited) {
  if (!Zram::Possible()) GTEST_SKIP() << "this kernel has no compressed swap";
  const Zram zram;
  End(SIGTERM);
  agent().Configure(std::string(kReclaim) + "hybrid: {page_out: 5%, min_memory: 5%}\n");
  lab().Exec("vm",
             "hog 200 --hold 100000 </dev/null >/run/hog 2>&1 & while ! grep -q touched /run/hog; "
             "do sleep 1; done");
  const auto before = lab().Charge("vm");
  agent().Start();
  const std::string path = host::MemoryCgroupOf(host::Roots{}, lab().Pid("vm")).value();
  const auto limit = host::MemoryCgroup::Open(path)->SoftLimit();
  EXPECT_TRUE(Eventually([&] { return lab().Charge("vm") < before - (std::int64_t{150} << 20); },
                         std::chrono::seconds(180)))
      << before << " " << lab().Charge("vm") << agent().Vm("vm") << agent().Log();
  EXPECT_EQ(lab().Exec("vm", "echo alive"), "alive\n");
  EXPECT_EQ(host::MemoryCgroup::Open(path)->SoftLimit().value(), limit.value());
}

}  // namespace
}  // namespace ullage::tests
