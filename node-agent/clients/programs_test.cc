// SPDX-License-Identifier: Apache-2.0
// The programs as people and libvirt start them: what they print and how they end.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdio>

#include "node-agent/clients/fake_agent.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::clients {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct Ended {
  int code = -1;
  std::string out;
  std::string err;
};

class ProgramsTest : public testing::Test {
 protected:
  Ended Run(const std::string& command) {
    const std::string line = "ULLAGE_SOCKET=" + socket_ + " ULLAGE_HOOK_WAIT=0 TERM=xterm " +
                             command + " >" + tree_.path("out") + " 2>" + tree_.path("err");
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read("out"), Read("err")};
  }
  std::string Read(const char* below) {
    std::ifstream in(tree_.path(below));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static v1::Snapshot OneVm() {
    v1::Snapshot snapshot;
    snapshot.set_tick(1);
    snapshot.add_vms()->set_name("web");
    return snapshot;
  }

  host::TemporaryTree tree_;
  const std::string socket_ = tree_.path("s");
  const std::string ctl_ = ULLAGE_CTL " ";
  const std::string hook_ = ULLAGE_HOOK " ";
};

TEST_F(ProgramsTest, CtlEndsWith2OnAUsageError) {
  for (const char* arguments :
       {"", "nonsense", "explain", "top -n 0", "top --once -n 2", "capacity -o xml", "--nonsense",
        "explain web --at yesterday", "report --horizon 10"}) {
    const Ended ended = Run(ctl_ + arguments);
    EXPECT_EQ(ended.code, 2) << arguments;
    EXPECT_THAT(ended.out, IsEmpty());
  }
  EXPECT_EQ(Run(ctl_ + "--help").code, 0);
  EXPECT_THAT(Run(ctl_ + "--version").out, StartsWith("ullagectl "));
}

TEST_F(ProgramsTest, CtlEndsWith1WithoutAnAgent) {
  for (const char* arguments : {"top", "capacity", "explain web", "report"}) {
    const Ended ended = Run(ctl_ + arguments);
    EXPECT_EQ(ended.code, 1);
    EXPECT_THAT(ended.err, StartsWith("ullagectl: no agent: there is no socket " + socket_));
  }
}

TEST_F(ProgramsTest, CtlWaitsForAStoppedAgentOnlySoLong) {
  const MuteAgent agent(socket_);
  const Ended ended = Run("timeout 20 " + ctl_ + "top --once");
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, HasSubstr("did not answer in time"));
}

TEST_F(ProgramsTest, CtlShowsWhatTheAgentSays) {
  FakeAgent agent(socket_);
  agent.snapshot = OneVm();
  EXPECT_THAT(Run(ctl_ + "top --once").out, HasSubstr("\nweb "));
  const Ended twice = Run(ctl_ + "top -n 2 -o json");
  EXPECT_EQ(twice.code, 0);
  EXPECT_EQ(std::count(twice.out.begin(), twice.out.end(), '\n'), 2);
  EXPECT_THAT(twice.out, HasSubstr("\n{\"tick\":\"2\""));
  EXPECT_THAT(Run(ctl_ + "capacity -o json").out, StartsWith("{\"promised\":\"0\""));
  EXPECT_THAT(Run(ctl_ + "explain web").out, HasSubstr("It was promised something."));
  EXPECT_THAT(Run(ctl_ + "explain web --at 2026-11-21T08:30:00Z").out,
              HasSubstr("At 1795249800000."));
  EXPECT_THAT(Run(ctl_ + "explain web --at -10m").out, HasSubstr("At 1"));
  EXPECT_THAT(Run(ctl_ + "report").out, HasSubstr("recorded   1.5 hours"));
  EXPECT_THAT(Run(ctl_ + "report --horizon 1h -o json").out, HasSubstr("\"horizonSeconds\":3600"));
  const Ended nobody = Run(ctl_ + "explain nobody");
  EXPECT_EQ(nobody.code, 3);
  EXPECT_THAT(nobody.err, HasSubstr("'nobody'"));
}

TEST_F(ProgramsTest, CtlCleansUpOnlyWhereItIsTold) {
  const Ended lost =
      Run("env -u KUBECONFIG -u KUBERNETES_SERVICE_HOST " + ctl_ + "cluster-cleanup");
  EXPECT_EQ(lost.code, 2);
  EXPECT_THAT(lost.err, StartsWith("ullagectl: no way to an API server: "));
  const Ended half = Run(ctl_ + "cluster-cleanup --after-pods a=b");
  EXPECT_EQ(half.code, 2);
  EXPECT_THAT(half.err, HasSubstr("--namespace"));
}

TEST_F(ProgramsTest, CtlStopsWhenNobodyReadsOrOnCtrlC) {
  FakeAgent agent(socket_);
  agent.snapshot = OneVm();
  EXPECT_EQ(Run("sh -c '" + ctl_ + "top | head -n 1'").code, 0);
  EXPECT_EQ(Run("sh -c 'timeout -s INT 0.5 " + ctl_ + "top; test $? = 124'").code, 0);
}

TEST_F(ProgramsTest, HookTellsUsageErrorsFromLibvirtsCalls) {
  for (const char* arguments : {"", "web", "web prepare begin", "--install --nonsense x",
                                "--install --hooks-dir", "--install x", "--nonsense"}) {
    const Ended ended = Run(hook_ + arguments);
    EXPECT_EQ(ended.code, 2) << arguments;
    EXPECT_THAT(ended.err, HasSubstr("usage:"));
  }
  // A domain may be called --install.
  const Ended started = Run(hook_ + "--install prepare begin - </dev/null");
  EXPECT_EQ(started.code, 1);
  EXPECT_THAT(started.err, StartsWith("ullage refuses to start '--install': "));
}

TEST_F(ProgramsTest, HookPrintsNothingOnStandardOutput) {
  FakeAgent agent(socket_);
  tree_.Write("xml",
              "<domain><name>w</name><uuid>6f9b1c1e-0d3c-4d57-9d0c-0123456789ab</uuid>"
              "<memory>65536</memory></domain>");
  for (const char* step : {"prepare begin", "migrate begin", "restore begin", "release end"}) {
    const Ended ended = Run(hook_ + "w " + step + " - <" + tree_.path("xml"));
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_THAT(ended.out, IsEmpty());
    EXPECT_THAT(ended.err, IsEmpty());
  }
}

TEST_F(ProgramsTest, HookInstallsItself) {
  const std::string hooks = tree_.path("hooks");
  EXPECT_EQ(Run(hook_ + "--install --hooks-dir " + hooks).code, 0);
  EXPECT_THAT(Run(hooks + "/qemu --version").out, StartsWith("ullage-libvirt-hook "));
  EXPECT_EQ(Run(hooks + "/qemu --uninstall --hooks-dir " + hooks).code, 0);
  EXPECT_TRUE(std::filesystem::is_empty(hooks));
}

TEST_F(ProgramsTest, TheInstalledHookAsksTheAgent) {
  FakeAgent agent(socket_);
  agent.admits = false;
  tree_.Write("xml",
              "<domain><name>w</name><uuid>6f9b1c1e-0d3c-4d57-9d0c-0123456789ab</uuid>"
              "<memory>65536</memory></domain>");
  const std::string input = " - <" + tree_.path("xml");
  for (const char* theirs : {"", "hooks/qemu"}) {
    if (*theirs != '\0') tree_.Write(theirs, "#!/bin/sh\n");
    const std::string hooks = tree_.path("hooks");
    ASSERT_EQ(Run(hook_ + "--install --hooks-dir " + hooks).code, 0);
    const std::string script = hooks + (*theirs == '\0' ? "/qemu" : "/qemu.d/ullage");
    const Ended refused = Run(script + " 'w  x' prepare begin" + input);
    EXPECT_EQ(refused.code, 1);
    EXPECT_THAT(refused.out, IsEmpty());
    EXPECT_THAT(refused.err, StartsWith("ullage refuses to start 'w  x': there is room"));
    EXPECT_EQ(Run(script + " w release end" + input).code, 0);
    ASSERT_EQ(Run(hook_ + "--uninstall --hooks-dir " + hooks).code, 0);
  }
  EXPECT_EQ(agent.reserved().size(), 2u);
  EXPECT_EQ(agent.released().size(), 2u);
}

// What is left of a program whose libraries are gone.
TEST_F(ProgramsTest, ABrokenHookRefusesStartsAndNothingElse) {
  const std::string hooks = tree_.path("hooks");
  ASSERT_EQ(Run(hook_ + "--install --hooks-dir " + hooks).code, 0);
  for (const char* broken : {"#!/bin/sh\nexit 127\n", "#!/bin/sh\nkill -9 $$\n", "#!/nowhere\n"}) {
    tree_.Write("hooks/ullage-libvirt-hook", broken);
    for (const char* step : {"reconnect begin", "release end", "migrate begin", "started begin"}) {
      EXPECT_EQ(Run(hooks + "/qemu w " + step + " - </dev/null").code, 0) << broken << step;
    }
    const Ended start = Run(hooks + "/qemu w prepare begin - </dev/null");
    EXPECT_NE(start.code, 0) << broken;
    EXPECT_THAT(start.err, HasSubstr("or remove " + hooks + "/qemu to start VMs"));
    EXPECT_THAT(start.out, IsEmpty());
  }
  tree_.Remove("hooks/ullage-libvirt-hook");
  EXPECT_EQ(Run(hooks + "/qemu w reconnect begin - </dev/null").code, 0);
  EXPECT_NE(Run(hooks + "/qemu w prepare begin - </dev/null").code, 0);
}

TEST_F(ProgramsTest, AdviceNamesWhatLibvirtRuns) {
  const std::string hooks = tree_.path("hooks");
  ASSERT_EQ(Run(hook_ + "--install --hooks-dir " + hooks).code, 0);
  tree_.Write("xml",
              "<domain><name>w</name><uuid>6f9b1c1e-0d3c-4d57-9d0c-0123456789ab</uuid>"
              "<memory>65536</memory></domain>");
  EXPECT_THAT(Run(hooks + "/qemu w prepare begin - <" + tree_.path("xml")).err,
              HasSubstr("or remove " + hooks + "/qemu to start VMs without admission"));
}

}  // namespace
}  // namespace ullage::clients
