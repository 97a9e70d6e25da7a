// SPDX-License-Identifier: Apache-2.0
// The directory of launcher pods over a real one: scripts/kube-vm-selftest runs this where the node
// is. ULLAGE_TEST_LAUNCHER names it: "NAMESPACE NAME VMI-UID POD-UID KUBELET-FOLDER". Skipped
// without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <thread>

#include "node-agent/sources/charges.h"
#include "node-agent/sources/launcher.h"
#include "qemu-backend/launchers.h"
#include "qemu-backend/thread.h"

namespace ullage::qemu {
namespace {

using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class RealLauncher : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* named = std::getenv("ULLAGE_TEST_LAUNCHER");
    if (named == nullptr) GTEST_SKIP() << "ULLAGE_TEST_LAUNCHER names no launcher pod";
    std::istringstream words(named);
    words >> target_.pod.vm_namespace >> target_.pod.vm_name >> target_.spec.id.value >>
        target_.pod.uid >> kubelet_;
    ASSERT_FALSE(kubelet_.empty()) << named;
    options_.refresh = milliseconds(500);
    options_.proof_period = milliseconds(1000);
  }
  void Start() {
    directory_ = std::make_unique<LauncherDirectory>(
        options_,
        LauncherWays{.find =
                         [kubelet = kubelet_](const sources::LauncherPod& pod, milliseconds wait) {
                           return sources::FindLauncher(host::Roots(), kubelet, pod, wait);
                         },
                     .socket =
                         [](const sources::Launcher& launcher) {
                           return sources::OpenLibvirtSocket(host::Roots(), launcher);
                         }},
        clock_);
    directory_->SetPods({target_});
  }
  QemuFacts Facts() const { return directory_->Latest().vms.at(0); }
  static bool Soon(const std::function<bool()>& holds) {
    const auto until = steady_clock::now() + seconds(120);
    while (!holds()) {
      if (steady_clock::now() > until) return false;
      std::this_thread::sleep_for(milliseconds(20));
    }
    return true;
  }

  LauncherTarget target_;
  std::string kubelet_;
  host::SystemClock clock_;
  LibvirtOptions options_ = LauncherDefaults();
  std::unique_ptr<LauncherDirectory> directory_;
};

TEST_F(RealLauncher, IsFoundProvenAndCharged) {
  Start();
  ASSERT_TRUE(Soon([&] { return Judge(Facts().hinting) == Hinting::kOn; })) << Facts().fault;
  ASSERT_TRUE(Soon([&] { return Facts().guest.unused && Facts().pid; })) << Facts().fault;
  const QemuFacts facts = Facts();
  EXPECT_EQ(facts.run, ullage::Run::kRunning);
  EXPECT_GT(facts.spec.guest_memory, Bytes::MiB(64));
  EXPECT_EQ(facts.exempt, "");
  EXPECT_EQ(facts.fault, "");
  EXPECT_THAT(facts.memory_cgroup, HasSubstr(target_.pod.uid));
  sources::Charges charges{host::Roots()};
  const auto charge = charges.Read({facts});
  ASSERT_THAT(charge, SizeIs(1));
  ASSERT_TRUE(charge[0].resident) << charge[0].fault;
  EXPECT_GT(*charge[0].resident, Bytes::MiB(32)) << "a QEMU with a guest";
  EXPECT_EQ(directory_->SwitchOn(target_.spec.id).error().code(), Code::kDenied);
}

TEST_F(RealLauncher, AnothersPodIsRefused) {
  target_.pod.vm_name += "x";
  Start();
  ASSERT_TRUE(Soon([&] { return Facts().fault.find("runs it") != std::string::npos; }));
  EXPECT_EQ(Judge(Facts().hinting), Hinting::kUnknown);
  EXPECT_EQ(Facts().memory_cgroup, "");
}

}  // namespace
}  // namespace ullage::qemu

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  ullage::qemu::Leave(RUN_ALL_TESTS());
}
