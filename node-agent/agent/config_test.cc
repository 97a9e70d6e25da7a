// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "node-agent/agent/yaml_section.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::agent {
namespace {

std::string ErrorOf(std::string_view text) {
  const auto config = ParseConfig(text);
  EXPECT_FALSE(config.ok()) << text;
  return config.ok() ? "" : config.error().message();
}

TEST(ParseConfig, EmptyIsAllDefaults) {
  const auto config = ParseConfig("");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->mode, Mode::kObserve) << "the default changes nothing";
  EXPECT_EQ(config->policy.quantum, Bytes::MiB(64));
  EXPECT_TRUE(ParseConfig("# only a comment\n").ok());
}

TEST(ParseConfig, ReadsParametersOfGuests) {
  const auto config = ParseConfig(
      "guest: {agent: allow, read_every: 5s, parameters: {settle_ms: 050, reporting: on}}");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->guest.agent, GuestRule::kAllow);
  EXPECT_EQ(config->guest.read_every, seconds(5));
  EXPECT_EQ(config->policy.guest_parameters,
            (std::map<std::string, std::string>{{"settle_ms", "50"}, {"reporting", "Y"}}));
  EXPECT_EQ(ErrorOf("guest: {parameters: {settle_ms: 2001}}"),
            "1: guest.parameters.settle_ms: a number from 0 to 2000 is wanted, not \"2001\"");
  EXPECT_EQ(ErrorOf("guest: {parameters: {reporting: 2}}"),
            "1: guest.parameters.reporting: Y or N is wanted, not \"2\"");
  EXPECT_NE(ErrorOf("guest: {parameters: {nonsense: 1}}").find("unknown key"), std::string::npos);
  EXPECT_NE(ErrorOf("guest: {agent: yes}").find("never, deny, allow"), std::string::npos);
}

TEST(ParseConfig, ReadsEveryKind) {
  const auto config = ParseConfig(
      "mode: publish\ntick: 500ms\nlisten: ''\n"
      "host:\n  cgroup: /sys/fs/cgroup/x\n  reserve: 1GiB\n"
      "overhead: {fixed: 100MiB, per_vcpu: 4096}\n"
      "libvirt:\n  uri: test:///default\n  deadline: 1s\n"
      "policy:\n  growth: 12.5%\n  ratio_cap: 200%\n  rise_delay: 5m\n");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->mode, Mode::kPublish);
  EXPECT_EQ(config->tick, milliseconds(500));
  EXPECT_EQ(config->listen, "");
  EXPECT_EQ(config->host_cgroup, "/sys/fs/cgroup/x");
  EXPECT_EQ(config->policy.reserve, Bytes::GiB(1));
  EXPECT_EQ(config->policy.overhead.per_vcpu, Bytes(4096));
  EXPECT_EQ(config->libvirt.uri, "test:///default");
  EXPECT_EQ(config->libvirt.deadline, milliseconds(1000));
  EXPECT_EQ(config->policy.growth, Permyriad{1250});
  EXPECT_EQ(config->policy.ratio_cap, Permyriad{20000});
  EXPECT_EQ(config->policy.rise_delay, seconds(300));
}

TEST(ParseConfig, RefusesUnknownKeysWithTheLine) {
  EXPECT_EQ(ErrorOf("tick: 1s\npolicy:\n  growht: 5%\n").substr(0, 32),
            "3: policy.growht: unknown key; k");
  EXPECT_EQ(ErrorOf("mod: observe\n").substr(0, 20), "1: mod: unknown key;");
  EXPECT_EQ(ErrorOf("? [a]\n: 1\n").substr(0, 2), "1:");
}

TEST(ParseConfig, RefusesIllTypedValuesWithTheLine) {
  EXPECT_EQ(ErrorOf("tick: soon"), "1: tick: a time like 500ms, 2s or 5m is wanted, not \"soon\"");
  EXPECT_EQ(ErrorOf("\ntick: [1s]"), "2: tick: one value is wanted, not a list or a mapping");
  EXPECT_EQ(ErrorOf("mode: on"), "1: mode: one of observe, publish, reclaim is wanted, not \"on\"");
  EXPECT_EQ(ErrorOf("host: 5"), "1: host: a mapping of keys is wanted");
  EXPECT_EQ(ErrorOf("host: {reserve: 1GB}"),
            "1: host.reserve: a size like 512MiB is wanted, not \"1GB\"");
  EXPECT_EQ(ErrorOf("policy: {growth: 10}"),
            "1: policy.growth: a share like 10% is wanted, not \"10\"");
  EXPECT_EQ(ErrorOf("socket: run/x"), "1: socket: an absolute path is wanted, not \"run/x\"");
  EXPECT_EQ(ErrorOf("- a\n- b\n"), "1: a mapping of keys is wanted");
}

TEST(ParseConfig, RefusesWhatIsOutOfBounds) {
  EXPECT_EQ(ErrorOf("tick: 1ms"), "1: tick: must lie from 100ms to 60000ms");
  EXPECT_EQ(ErrorOf("policy: {growth: 100.01%}"), "1: policy.growth: must lie from 0% to 100%");
  EXPECT_NE(ErrorOf("host: {reserve: 99999999999999999999GiB}"), "");
}

TEST(ParseConfig, RefusesWhatWouldBeCutOff) {
  EXPECT_EQ(ErrorOf("policy: {rise_delay: 500ms}"),
            "1: policy.rise_delay: whole seconds are wanted");
  EXPECT_EQ(ErrorOf("state_dir: ''"), "1: state_dir: an absolute path is wanted, not \"\"");
  EXPECT_TRUE(ParseConfig("host: {cgroup: ''}").ok()) << "none is an answer there";
}

TEST(ParseConfig, RefusesTheSameKeyTwice) {
  EXPECT_EQ(ErrorOf("tick: 1s\ntick: 2s\n"), "2: tick: stands twice");
}

TEST(ParseConfig, SurvivesWhatIsNoYaml) {
  EXPECT_NE(ErrorOf("a: [1, 2"), "");
  EXPECT_NE(ErrorOf("\t\tx: 1"), "");
  EXPECT_NE(ErrorOf(std::string(4000, '[')), "");
  EXPECT_NE(ErrorOf("a: &a [*a]\n"), "");
  EXPECT_NE(ErrorOf(std::string_view("\0\xff\xfe", 3)), "");
}

TEST(LoadConfig, NamesTheFile) {
  const host::TemporaryTree tree;
  EXPECT_EQ(LoadConfig(tree.path("none.yaml")).error().code(), Code::kGone);
  tree.Write("bad.yaml", "x: 1\n");
  EXPECT_EQ(LoadConfig(tree.path("bad.yaml")).error().message().find(tree.path("bad.yaml") + ":1:"),
            0u);
}

TEST(ParseShare, TakesTwoDecimals) {
  EXPECT_EQ(ParseShare("2.5%"), Permyriad{250});
  EXPECT_EQ(ParseShare("0.01%"), Permyriad{1});
  for (const char* bad : {"", "%", "1", "1.%", "1.234%", "-1%", ".5%", "1e2%"}) {
    EXPECT_EQ(ParseShare(bad), std::nullopt) << bad;
  }
}

TEST(ParseSize, TakesBinaryUnits) {
  EXPECT_EQ(ParseSize("64MiB"), Bytes::MiB(64));
  EXPECT_EQ(ParseSize("0"), Bytes());
  for (const char* bad : {"", "MiB", "1 MiB", "1MB", "1.5GiB", "-1", "9223372036854775808"}) {
    EXPECT_EQ(ParseSize(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace ullage::agent
