// SPDX-License-Identifier: Apache-2.0
// The way into a guest, over a hypervisor made of values.
#include "qemu-backend/guest_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "qemu-backend/directory.h"
#include "qemu-backend/fake_hypervisor.h"

namespace ullage::qemu {
namespace {

using std::chrono::steady_clock;
using ::testing::HasSubstr;

const std::string kModule = std::string(host::kGuestModules) + "/ullage_balloon/";
const std::string kSummary = kModule + "summary";
const std::string kSettle = kModule + "parameters/settle_ms";

class GuestLinkTest : public ::testing::Test {
 protected:
  GuestLinkTest() {
    options_.deadline = milliseconds(2000);
    options_.list_period = milliseconds(40);
    options_.refresh = milliseconds(20);
    options_.proof_period = milliseconds(40);
    options_.retry = milliseconds(10);
    options_.retry_cap = milliseconds(40);
    options_.guest_rule = GuestRule::kAllow;
    options_.guest_read_every = milliseconds(20);
    options_.guest_parameters = {"settle_ms"};
    options_.run_dir = tree_.path("run");
    options_.roots.proc = tree_.path("proc");
    tree_.Write("run/vm1.pid", "4711");
    tree_.Write("proc/4711/cmdline", std::string("qemu\0", 5) + FakeHypervisor::Uuid(1));
  }
  ~GuestLinkTest() override {
    fake_->With([](FakeHypervisor& f) {
      for (auto& [uuid, vm] : f.vms_) vm.agent_hangs = false;
    });
    directory_.reset();
  }

  // A VM whose guest has our driver and an agent.
  void Add(const std::string& state = "state='connected'") {
    fake_->Add(1, 7,
               FakeHypervisor::Balloon("on") +
                   "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' " +
                   state + "/></channel>");
    Guest([](FakeVm& vm) {
      vm.files[kSummary] = "reporting 1\nreported_bytes 4096\npasses 5\nlater 7\n";
      vm.files[kSettle] = "100\n";
    });
  }
  void Guest(const std::function<void(FakeVm&)>& change) {
    fake_->With([&](FakeHypervisor& f) { change(f.vm(1)); });
  }
  void Replace(const std::string& from, const std::string& to) {
    Guest([&](FakeVm& vm) { vm.live.replace(vm.live.find(from), from.size(), to); });
  }
  int Calls() {
    return fake_->With([](FakeHypervisor& f) { return f.vm(1).agent_calls; });
  }
  int Writes() {
    return fake_->With([](FakeHypervisor& f) { return f.vm(1).writes; });
  }
  std::string Settle() {
    return fake_->With([](FakeHypervisor& f) { return f.vm(1).files[kSettle]; });
  }
  void Start() { directory_ = LibvirtDirectory::Start(options_, fake_, clock_); }
  QemuFacts Facts() const {
    const auto listing = directory_->Latest();
    return listing.vms.empty() ? QemuFacts{} : listing.vms[0];
  }
  GuestAgent State() const { return Facts().agent; }
  Status Write(const std::string& name, const std::string& value) {
    return directory_->Write({FakeHypervisor::Uuid(1)}, name, value);
  }
  static bool Soon(const std::function<bool()>& holds) {
    const auto until = steady_clock::now() + seconds(10);
    while (steady_clock::now() < until) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return false;
  }
  bool Reads() {
    return Soon([&] { return State() == GuestAgent::kReads; });
  }

  host::TemporaryTree tree_;
  host::SystemClock clock_;
  LibvirtOptions options_;
  std::shared_ptr<FakeHypervisor> fake_ = std::make_shared<FakeHypervisor>();
  std::unique_ptr<LibvirtDirectory> directory_;
};

TEST_F(GuestLinkTest, ReadsCountersAndParameters) {
  Add();
  Start();
  ASSERT_TRUE(Reads());
  const auto module = Facts().module;
  ASSERT_TRUE(module);
  EXPECT_EQ(module->reporting, true);
  EXPECT_EQ(module->reported, Bytes(4096));
  EXPECT_EQ(module->report_errors, std::nullopt) << "absent is not zero";
  EXPECT_EQ(module->other.at("later"), 7u);
  EXPECT_EQ(module->parameters.at("settle_ms"), "100");
  EXPECT_TRUE(module->written.empty());
  EXPECT_EQ(Facts().fault, "");
  EXPECT_TRUE(Soon([&] {  // between two questions of the same visit there may be one
    return fake_->With([](FakeHypervisor& f) { return f.vm(1).handles.empty(); });
  })) << "every file is closed";
}

TEST_F(GuestLinkTest, AsksNobodyWithoutAChannelAnAgentOrPermission) {
  Add("");
  Start();
  EXPECT_TRUE(Soon([&] { return State() == GuestAgent::kNotConnected; }));
  Replace("org.qemu.guest_agent.0", "com.redhat.spice.0");
  EXPECT_TRUE(Soon([&] { return State() == GuestAgent::kNoChannel; }));
  Replace("com.redhat.spice.0' ", "org.qemu.guest_agent.0' state='connected'");
  Replace("<vcpu>", "<metadata><u:vm xmlns:u='" + std::string(kMetadataNamespace) +
                        "' guest-agent='deny'/></metadata><vcpu>");
  EXPECT_TRUE(Soon([&] { return State() == GuestAgent::kDenied; }));
  EXPECT_FALSE(Facts().module);
  Guest([](FakeVm& vm) { vm.agent_calls = 0; });
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(Calls(), 0);
  EXPECT_EQ(Write("settle_ms", "50").error().code(), Code::kUnavailable);
  Replace("'deny'", "'allow'");
  EXPECT_TRUE(Reads());
}

TEST_F(GuestLinkTest, AnAgentThatHangsIsSilentAndHoldsUpNobody) {
  options_.deadline = milliseconds(150);
  Add();
  Start();
  ASSERT_TRUE(Reads());
  Guest([](FakeVm& vm) { vm.agent_hangs = true; });
  ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kSilent; }));
  EXPECT_FALSE(Facts().module) << "unknown";
  EXPECT_THAT(Facts().agent_fault, HasSubstr("no answer in time"));
  EXPECT_FALSE(Write("settle_ms", "50").ok());
  const auto before = Facts().answered_at;
  EXPECT_TRUE(Soon([&] { return Facts().answered_at > before; })) << "QEMU is asked on";
  const auto begun = steady_clock::now();
  EXPECT_EQ(Judge(Facts().hinting), Hinting::kOn);
  EXPECT_LT(steady_clock::now() - begun, milliseconds(100));
  Guest([](FakeVm& vm) { vm.agent_hangs = false; });
  EXPECT_TRUE(Reads()) << "and it comes back";
}

TEST_F(GuestLinkTest, AnAgentThatIsAwayIsAskedRarelyAndSoonWhenItReturns) {
  options_.guest_read_every = milliseconds(100);
  Add();
  Guest([](FakeVm& vm) { vm.agent_error = Error(Code::kDeadline, "not connected"); });
  Start();
  ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kSilent; }));
  std::this_thread::sleep_for(milliseconds(1000));
  EXPECT_LE(Calls(), 6) << "it rests longer each time";
  Guest([](FakeVm& vm) { vm.agent_error.reset(); });
  Replace(" state='connected'", "");
  ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kNotConnected; }));
  Replace("org.qemu.guest_agent.0'", "org.qemu.guest_agent.0' state='connected'");
  EXPECT_TRUE(Reads());
}

TEST_F(GuestLinkTest, AGuestWithoutOurDriverIsSaidToHaveNone) {
  Add();
  Guest([](FakeVm& vm) { vm.files.clear(); });
  Start();
  ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kNoModule; }));
  EXPECT_THAT(Facts().agent_fault, HasSubstr("No such file"));
  EXPECT_EQ(Facts().fault, "") << "no fault of QEMU's";
}

TEST_F(GuestLinkTest, LiesAreCountedAndShowNothing) {
  Add();
  const std::string deep = "{\"return\":" + std::string(3000, '[');
  Start();
  for (const std::string& lie :
       {std::string("{}"), std::string("[[[["), deep, std::string(100000, 'x'),
        std::string(R"({"return":-1})"), std::string(R"({"return":{"buf-b64":"%%%%"}})")}) {
    Guest([&](FakeVm& vm) { vm.agent_lie.clear(); });
    ASSERT_TRUE(Reads());
    const auto refused = directory_->Counters().guest_refused;
    Guest([&](FakeVm& vm) { vm.agent_lie = lie; });
    ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kNoModule; })) << lie.substr(0, 20);
    EXPECT_FALSE(Facts().module);
    EXPECT_GT(directory_->Counters().guest_refused, refused);
  }
}

TEST_F(GuestLinkTest, WritesAParameterAndSaysSo) {
  Add();
  Start();
  ASSERT_TRUE(Reads());
  ASSERT_TRUE(Write("settle_ms", "50").ok());
  ASSERT_TRUE(Soon([&] {
    const auto facts = Facts();
    return facts.module && facts.module->parameters.at("settle_ms") == "50";
  }));
  EXPECT_EQ(Facts().module->written.at("settle_ms"), "50");
  EXPECT_EQ(Settle(), "50\n");
  EXPECT_EQ(Writes(), 1);
}

TEST_F(GuestLinkTest, WritesNoOtherFileAndNoOtherValue) {
  Add();
  Start();
  ASSERT_TRUE(Reads());
  for (const auto& [name, value] : {std::pair{"../../../../etc/passwd", "1"},
                                    {"settle_ms", "2001"},
                                    {"settle_ms", "050"},
                                    {"settle_ms", "5; x"},
                                    {"nonsense", "1"}}) {
    EXPECT_EQ(Write(name, value).error().code(), Code::kInvalid) << name << " " << value;
  }
  EXPECT_EQ(directory_->Write({"another"}, "settle_ms", "50").error().code(), Code::kNotFound);
  EXPECT_EQ(Writes(), 0);
}

TEST_F(GuestLinkTest, ARefusalIsToldAndReadingGoesOn) {
  Add();
  Guest([](FakeVm& vm) { vm.refuses = kSettle; });
  Start();
  ASSERT_TRUE(Reads());
  ASSERT_TRUE(Write("settle_ms", "50").ok());
  ASSERT_TRUE(Soon([&] {
    const auto facts = Facts();
    return facts.agent_fault.find("settle_ms") != std::string::npos && facts.module;
  }));
  EXPECT_EQ(Settle(), "100\n");
}

TEST_F(GuestLinkTest, ANewLoadOfTheDriverForgetsWhatWasWritten) {
  Add();
  Start();
  ASSERT_TRUE(Reads());
  const auto written = [&] {
    const auto facts = Facts();
    return facts.module && facts.module->written.contains("settle_ms");
  };
  ASSERT_TRUE(Write("settle_ms", "50").ok());
  ASSERT_TRUE(Soon(written));
  // Loaded anew: it counts from zero.
  Guest([](FakeVm& vm) {
    vm.files[kSummary] = "reporting 1\nreported_bytes 0\npasses 0\n";
    vm.files[kSettle] = "100\n";
  });
  EXPECT_TRUE(Soon([&] { return Facts().module && !written(); }));
  ASSERT_TRUE(Write("settle_ms", "50").ok());
  ASSERT_TRUE(Soon(written));
  fake_->Tell(Event::Kind::kReset, 1);
  EXPECT_FALSE(Facts().module) << "at once";
  EXPECT_TRUE(Soon([&] { return Facts().module && !written(); }));
}

TEST_F(GuestLinkTest, AnAgentThatHangsDoesNotKeepTheDirectoryFromEnding) {
  options_.deadline = milliseconds(150);
  Add();
  Start();
  ASSERT_TRUE(Reads());
  Guest([](FakeVm& vm) { vm.agent_hangs = true; });
  ASSERT_TRUE(Soon([&] { return State() == GuestAgent::kSilent; }));
  const auto begun = steady_clock::now();
  directory_.reset();
  EXPECT_LT(steady_clock::now() - begun, seconds(2));
}

}  // namespace
}  // namespace ullage::qemu
