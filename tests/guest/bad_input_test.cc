// SPDX-License-Identifier: Apache-2.0
// Each mistake that an operator makes, and what the program says to it.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "tests/guest/lab.h"

namespace ullage::tests {
namespace {

class BadInputTest : public testing::Test {
 protected:
  std::string Config(const std::string& text, const std::string& file = "agent.yaml") {
    tree_.Write(file, text);
    return tree_.path(file);
  }
  // A configuration that needs nothing from outside.
  std::string Harmless(const std::string& more = "") {
    return Config(HarmlessText("agent.sock", "state") + more);
  }
  std::string HarmlessText(const std::string& socket, const std::string& state) const {
    return "socket: " + tree_.path(socket) + "\nstate_dir: " + tree_.path(state) +
           "\nlisten: ''\ntick: 100ms\nlibvirt: {uri: 'qemu+unix:///system?socket=" +
           tree_.path("no-libvirt") + "'}\n";
  }
  std::unique_ptr<Process> Start(const std::string& config) {
    return std::make_unique<Process>(
        std::vector<std::string>{Program("ullage-agent"), "--standalone", "--config", config},
        tree_.path("log"));
  }
  std::string Log() {
    std::stringstream text;
    text << std::ifstream(tree_.path("log")).rdbuf();
    return text.str();
  }
  Output Ctl(std::vector<std::string> words) {
    words.insert(words.begin(), {Program("ullagectl"), "--socket", tree_.path("agent.sock")});
    return RunProgram(words);
  }
  bool Answers() { return Ctl({"capacity"}).status == 0; }

  host::TemporaryTree tree_;
};

TEST_F(BadInputTest, AnUnknownKeyIsRefusedWithFileAndLine) {
  const Output output = RunProgram({Program("ullage-agent"), "--check-config", "--config",
                                    Config("tick: 1s\npolicy:\n  growht: 5%\n")});
  EXPECT_EQ(output.status, 2);
  EXPECT_NE(output.text.find("agent.yaml:3: policy.growht: unknown key"), std::string::npos)
      << output.text;
}

TEST_F(BadInputTest, AnIllTypedValueIsRefusedWithFileAndLine) {
  const Output output =
      RunProgram({Program("ullage-agent"), "--standalone", "--config", Config("tick: soon\n")});
  EXPECT_EQ(output.status, 2);
  EXPECT_NE(output.text.find("agent.yaml:1: tick: a time like"), std::string::npos) << output.text;
}

TEST_F(BadInputTest, AMissingConfigurationIsSaid) {
  const Output output =
      RunProgram({Program("ullage-agent"), "--check-config", "--config", tree_.path("no")});
  EXPECT_EQ(output.status, 2);
  EXPECT_NE(output.text.find("No such file"), std::string::npos) << output.text;
  EXPECT_EQ(RunProgram({Program("ullage-agent"), "--check-config", "--config", Harmless()}).status,
            0);
}

TEST_F(BadInputTest, WithoutLibvirtItSaysSoAndGoesOn) {
  const auto agent = Start(Harmless());
  EXPECT_TRUE(Eventually([&] { return Log().find("no-libvirt") != std::string::npos; })) << Log();
  EXPECT_TRUE(Eventually([&] { return Answers(); }));
  // The first snapshot may be older than the first refusal.
  Output top;
  EXPECT_TRUE(Eventually([&] {
    top = Ctl({"top", "--once"});
    return top.text.find("libvirt") != std::string::npos;
  })) << top.text;
  EXPECT_TRUE(agent->alive());
}

TEST_F(BadInputTest, WithoutPermissionOnTheCgroupItSaysSo) {
  // As an ordinary user: root may read everything.
  tree_.Write("secret/memory.current", "1\n");
  ASSERT_EQ(chmod(tree_.path("secret").c_str(), 0700), 0);
  ASSERT_EQ(chown(tree_.path().c_str(), 65534, 65534), 0);
  const std::string config = Harmless("host: {cgroup: " + tree_.path("secret") + "}\n");
  ASSERT_EQ(chmod(config.c_str(), 0644), 0);
  const Process agent({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                       Program("ullage-agent"), "--standalone", "--config", config},
                      tree_.path("log"));
  EXPECT_TRUE(Eventually([&] { return Log().find("Permission denied") != std::string::npos; }))
      << Log();
  EXPECT_NE(Log().find(tree_.path("secret")), std::string::npos) << "and names the folder";
}

TEST_F(BadInputTest, ALiveSocketIsRefused) {
  const auto first = Start(Harmless());
  ASSERT_TRUE(Eventually([&] { return Answers(); })) << Log();
  // With a state of its own: else the ledger's lock refuses it first.
  const Output second =
      RunProgram({Program("ullage-agent"), "--standalone", "--config",
                  Config(HarmlessText("agent.sock", "second-state"), "second.yaml")});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.text.find("another agent answers on " + tree_.path("agent.sock")),
            std::string::npos)
      << second.text;
  EXPECT_EQ(second.text.find("ledger.json.lock"), std::string::npos) << second.text;
  EXPECT_TRUE(Answers()) << "the first one goes on";
}

TEST_F(BadInputTest, AStateInUseIsRefused) {
  const auto first = Start(Harmless());
  ASSERT_TRUE(Eventually([&] { return Answers(); })) << Log();
  const Output second = RunProgram({Program("ullage-agent"), "--standalone", "--config",
                                    Config(HarmlessText("second.sock", "state"), "second.yaml")});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.text.find(tree_.path("state/ledger.json.lock")), std::string::npos)
      << second.text;
  EXPECT_NE(second.text.find("another"), std::string::npos) << second.text;
  EXPECT_FALSE(std::filesystem::exists(tree_.path("second.sock")));
  EXPECT_TRUE(Answers()) << "the first one goes on";
}

TEST_F(BadInputTest, AStaleSocketIsReplaced) {
  {
    const auto first = Start(Harmless());
    ASSERT_TRUE(Eventually([&] { return Answers(); })) << Log();
    first->Signal(SIGKILL);
    first->Wait();
  }
  ASSERT_TRUE(std::filesystem::exists(tree_.path("agent.sock"))) << "left behind by the killed one";
  const auto second = Start(Harmless());
  EXPECT_TRUE(Eventually([&] { return Answers(); })) << Log();
}

TEST_F(BadInputTest, TheSocketIsForRootOnly) {
  const auto agent = Start(Harmless());
  ASSERT_TRUE(Eventually([&] { return Answers(); }));
  struct stat status {};
  ASSERT_EQ(stat(tree_.path("agent.sock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(BadInputTest, ADomainNameThatIsNoUtf8IsShownSafely) {
  const auto agent = Start(Harmless("mode: observe\n"));
  ASSERT_TRUE(Eventually([&] { return Answers(); }));
  const std::string xml =
      "<?xml version='1.0' encoding='ISO-8859-1'?><domain type='qemu'><name>b\xf6se</name>"
      "<uuid>6a2f41a3-c54c-fce8-32d2-0324e1c32e22</uuid><memory unit='MiB'>256</memory>"
      "<vcpu>1</vcpu></domain>";
  // Given as bytes on the command line, as libvirtd would.
  const Output hook =
      RunProgram({"env", "ULLAGE_SOCKET=" + tree_.path("agent.sock"),
                  Program("ullage-libvirt-hook"), "b\xf6se", "prepare", "begin", "-"},
                 xml);
  EXPECT_EQ(hook.status, 0) << hook.text;
  EXPECT_TRUE(Eventually([&] {
    return Ctl({"explain", "6a2f41a3-c54c-fce8-32d2-0324e1c32e22"}).status == 0;
  }));
  const Output top = Ctl({"top", "--once"});
  EXPECT_EQ(top.status, 0);
  EXPECT_EQ(top.text.find('\xf6'), std::string::npos) << "no stray byte reaches the terminal";
}

}  // namespace
}  // namespace ullage::tests
