// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/hook.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <optional>
#include <sstream>
#include <thread>

#include "node-agent/clients/channel.h"
#include "node-agent/clients/fake_agent.h"
#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::clients {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kXml = R"(<domain type='kvm'>
  <name>web</name><uuid>6f9b1c1e-0d3c-4d57-9d0c-0123456789ab</uuid>
  <memory unit='MiB'>512</memory><vcpu>2</vcpu>
  <metadata><ullage:vm xmlns:ullage='https://ullage.io/libvirt/v1' placement='reclaimed'/></metadata>
</domain>)";
constexpr const char* kUuid = "6f9b1c1e-0d3c-4d57-9d0c-0123456789ab";

class HookTest : public testing::Test {
 protected:
  HookTest() { QuietGrpc(); }

  // What libvirt does: the XML on a descriptor that ends.
  int Run(const std::string& operation, const std::string& sub, const std::string& xml = kXml,
          const std::string& object = "web") {
    tree_.Write("xml", xml);
    const host::Fd input(open(tree_.path("xml").c_str(), O_RDONLY | O_CLOEXEC));
    err_.str("");
    return RunHook({object, operation, sub, input.get(), "/hooks/qemu"}, options_, err_);
  }

  host::TemporaryTree tree_;
  const std::string socket_ = tree_.path("agent.sock");
  Result<HookOptions> options_ = HookOptions{socket_, milliseconds(300)};
  std::ostringstream err_;
};

TEST_F(HookTest, AnAdmittedStartPassesInSilence) {
  const FakeAgent agent(socket_);
  EXPECT_EQ(Run("prepare", "begin"), 0);
  EXPECT_EQ(err_.str(), "");
  ASSERT_EQ(agent.reserved().size(), 1u);
  const v1::ReserveRequest request = agent.reserved()[0];
  EXPECT_EQ(request.uuid(), kUuid);
  EXPECT_EQ(request.name(), "web");
  EXPECT_EQ(request.guest_memory(), std::uint64_t{512} << 20);
  EXPECT_EQ(request.vcpus(), 2u);
  EXPECT_EQ(request.placement(), "reclaimed");
  EXPECT_FALSE(request.running());
}

TEST_F(HookTest, ARefusedStartSaysWhy) {
  FakeAgent agent(socket_);
  agent.admits = false;
  agent.reason = "no room: 3 MiB is left\x1b[31m";
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_EQ(err_.str(), "ullage refuses to start 'web': no room: 3 MiB is left\\x1b[31m\n");
}

TEST_F(HookTest, AnAgentThatIsDownRefusesStartsAndSaysWhatToDo) {
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("is ullage-agent running?"));
  EXPECT_THAT(err_.str(), HasSubstr("start ullage-agent, or remove /hooks/qemu"));
}

TEST_F(HookTest, AnAgentThatRestartsIsWaitedFor) {
  options_ = HookOptions{socket_, seconds(10)};
  std::optional<FakeAgent> agent;
  std::thread starter([&] {
    std::this_thread::sleep_for(milliseconds(300));
    agent.emplace(socket_);
  });
  EXPECT_EQ(Run("prepare", "begin"), 0);
  starter.join();
}

TEST_F(HookTest, AnAgentThatIsNotReadyIsAskedAgain) {
  FakeAgent agent(socket_);
  agent.unavailable = 2;
  options_ = HookOptions{socket_, seconds(10)};
  EXPECT_EQ(Run("prepare", "begin"), 0);
}

TEST_F(HookTest, AnAgentThatIsAskedByTooManyIsAskedAgain) {
  FakeAgent agent(socket_);
  agent.exhausted = 2;
  options_ = HookOptions{socket_, seconds(10)};
  EXPECT_EQ(Run("prepare", "begin"), 0) << err_.str();
  agent.exhausted = 100;
  options_ = HookOptions{socket_, milliseconds(300)};
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("start fewer VMs at once"));
}

TEST_F(HookTest, ATryThatBeginsLateGetsOnlyWhatIsLeftOfTheWait) {
  options_ = HookOptions{socket_, seconds(2)};
  std::optional<MuteAgent> agent;
  std::thread starter([&] {
    std::this_thread::sleep_for(milliseconds(1200));
    agent.emplace(socket_);
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(3000));
  EXPECT_THAT(err_.str(), HasSubstr("did not answer in time"));
  starter.join();
}

TEST_F(HookTest, ABadRequestIsNotAskedAgain) {
  FakeAgent agent(socket_);
  agent.invalid = "vcpus is 65536, not 1 to 4096";
  options_ = HookOptions{socket_, seconds(10)};
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("vcpus is 65536"));
}

TEST_F(HookTest, WhatIsNoDomainIsRefusedUnasked) {
  const FakeAgent agent(socket_);
  for (const char* xml : {"", "nonsense", "<domain/>", "<domain><name>x</name></domain>"}) {
    EXPECT_EQ(Run("prepare", "begin", xml), 1) << xml;
    EXPECT_THAT(err_.str(), HasSubstr("ullage refuses to start 'web': "));
  }
  EXPECT_THAT(agent.reserved(), IsEmpty());
}

TEST_F(HookTest, InputIsBounded) {
  const FakeAgent agent(socket_);
  EXPECT_EQ(Run("prepare", "begin", std::string((1 << 20) + 1, ' ')), 1);
  EXPECT_THAT(err_.str(), HasSubstr("longer than 1048576 bytes"));
}

TEST_F(HookTest, ANameThatIsNoUtf8ArrivesAsItIsAndIsShownEscaped) {
  FakeAgent agent(socket_);
  agent.admits = false;
  EXPECT_EQ(Run("prepare", "begin", kXml, "w\xff\n"), 1);
  EXPECT_EQ(agent.reserved().at(0).name(), "w\xff\n");
  EXPECT_THAT(err_.str(), HasSubstr("'w\\xff\\x0a'"));
}

TEST_F(HookTest, ReconnectCountsAndNeverFails) {
  {
    FakeAgent agent(socket_);
    agent.admits = false;
    EXPECT_EQ(Run("reconnect", "begin"), 0);
    EXPECT_TRUE(agent.reserved().at(0).running());
  }
  EXPECT_EQ(Run("reconnect", "begin"), 0);
  EXPECT_EQ(Run("reconnect", "begin", "nonsense"), 0);
}

TEST_F(HookTest, ReleaseReleasesAndNeverFails) {
  {
    const FakeAgent agent(socket_);
    EXPECT_EQ(Run("release", "end"), 0);
    EXPECT_THAT(agent.released(), ElementsAre(kUuid));
  }
  EXPECT_EQ(Run("release", "end"), 0);
  EXPECT_THAT(err_.str(), HasSubstr("no agent"));
  EXPECT_EQ(Run("release", "end", "nonsense"), 0);
}

TEST_F(HookTest, EverythingElseIsLeftAlone) {
  const FakeAgent agent(socket_);
  for (const char* operation : {"migrate", "restore", "start", "started", "attach", "nonsense"}) {
    EXPECT_EQ(Run(operation, "begin"), 0);
  }
  EXPECT_EQ(Run("stopped", "end"), 0);
  EXPECT_EQ(Run("prepare", "end"), 0);
  EXPECT_EQ(err_.str(), "");
  EXPECT_THAT(agent.reserved(), IsEmpty());
  EXPECT_THAT(agent.released(), IsEmpty());
}

TEST_F(HookTest, BadConfigurationRefusesAStartAndNothingElse) {
  options_ = Error(Code::kInvalid, "hook.conf:1: unknown key");
  EXPECT_EQ(Run("prepare", "begin"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("hook.conf:1"));
  EXPECT_EQ(Run("release", "end"), 0);
  EXPECT_EQ(Run("reconnect", "begin"), 0);
}

class HookOptionsTest : public testing::Test {
 protected:
  HookOptionsTest() { ClearEnvironment(); }
  ~HookOptionsTest() override { ClearEnvironment(); }
  static void ClearEnvironment() {
    unsetenv("ULLAGE_SOCKET");
    unsetenv("ULLAGE_HOOK_WAIT");
  }
  Result<HookOptions> Read(const std::string& text) {
    tree_.Write("hook.conf", text);
    return ReadHookOptions(tree_.path("hook.conf"));
  }
  host::TemporaryTree tree_;
};

TEST_F(HookOptionsTest, HasDefaultsWithoutAFile) {
  const auto options = ReadHookOptions(tree_.path("none"));
  ASSERT_TRUE(options.ok()) << options.error().message();
  EXPECT_EQ(options->socket, "/run/ullage/agent.sock");
  EXPECT_EQ(options->wait, seconds(10));
}

TEST_F(HookOptionsTest, TheEnvironmentWins) {
  const std::string text = "# where\n socket = /tmp/a b.sock \n\nwait=3";
  auto options = Read(text);
  ASSERT_TRUE(options.ok()) << options.error().message();
  EXPECT_EQ(options->socket, "/tmp/a b.sock");
  EXPECT_EQ(options->wait, seconds(3));
  setenv("ULLAGE_SOCKET", "/tmp/other", 1);
  setenv("ULLAGE_HOOK_WAIT", "0", 1);
  options = Read(text);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->socket, "/tmp/other");
  EXPECT_EQ(options->wait, seconds(0));
}

TEST_F(HookOptionsTest, NamesTheLineThatIsWrong) {
  for (const char* line : {"sokcet = /x", "socket = x", "socket", "wait = ten", "wait = 601"}) {
    const auto options = Read(std::string("\n") + line + "\n");
    ASSERT_FALSE(options.ok()) << line;
    EXPECT_THAT(options.error().message(), HasSubstr("hook.conf:2: "));
  }
  setenv("ULLAGE_HOOK_WAIT", "x", 1);
  const auto options = ReadHookOptions(tree_.path("none"));
  ASSERT_FALSE(options.ok());
  EXPECT_THAT(options.error().message(), HasSubstr("ULLAGE_HOOK_WAIT"));
}

}  // namespace
}  // namespace ullage::clients
