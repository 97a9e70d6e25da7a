// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/reclaim_policy.h"

#include <gmock/gmock.h>

namespace ullage::sources {
namespace {

using testing::HasSubstr;
using Policies = std::vector<kube::Item<k8s::ReclaimPolicy>>;

kube::Item<k8s::ReclaimPolicy> Policy(const std::string& name, const std::string& spec) {
  auto object = kube::ReadJson<k8s::ReclaimPolicy>(R"({"metadata":{"name":")" + name +
                                                   R"("},"spec":)" + spec + "}");
  EXPECT_TRUE(object.ok()) << object.error().message();
  return {object.ok() ? *object : k8s::ReclaimPolicy{}, ""};
}
std::string For(const std::string& selector) { return R"({"nodeSelector":)" + selector + "}"; }

const Labels kLabels{{"zone", "a"}, {"disk", "ssd"}};

PolicyChoice Choose(const Policies& policies) { return ChoosePolicy(policies, kLabels, {}); }

TEST(Selects, AsTheKubernetesApiDoes) {
  const auto selects = [](const std::string& requirement) {
    const auto selector =
        kube::ReadJson<k8s::LabelSelector>(R"({"matchExpressions":[)" + requirement + "]}");
    return *Selects(*selector, kLabels);
  };
  EXPECT_TRUE(selects(R"({"key":"zone","operator":"In","values":["b","a"]})"));
  EXPECT_FALSE(selects(R"({"key":"zone","operator":"In","values":["b"]})"));
  EXPECT_FALSE(selects(R"({"key":"none","operator":"In","values":["b"]})"));
  EXPECT_TRUE(selects(R"({"key":"none","operator":"NotIn","values":["b"]})"));
  EXPECT_FALSE(selects(R"({"key":"zone","operator":"NotIn","values":["a"]})"));
  EXPECT_TRUE(selects(R"({"key":"zone","operator":"Exists"})"));
  EXPECT_FALSE(selects(R"({"key":"none","operator":"Exists"})"));
  EXPECT_TRUE(selects(R"({"key":"none","operator":"DoesNotExist"})"));
  EXPECT_FALSE(selects(R"({"key":"zone","operator":"DoesNotExist"})"));
  EXPECT_TRUE(*Selects({}, kLabels)) << "none at all selects everything";
}

TEST(ChoosePolicy, TheMostSpecificOneIsInForce) {
  const PolicyChoice choice = Choose(
      {Policy("all", "{}"), Policy("zone", For(R"({"matchLabels":{"zone":"a"}})")),
       Policy(
           "both",
           For(R"({"matchLabels":{"zone":"a"},"matchExpressions":[{"key":"disk","operator":"Exists"}]})")),
       Policy("other", For(R"({"matchLabels":{"zone":"b","disk":"ssd","x":"y"}})"))});
  EXPECT_EQ(choice.name, "both");
  EXPECT_EQ(choice.fault, "");
  EXPECT_EQ(choice.max_mode, Mode::kObserve) << "the default of the CRD";
}

TEST(ChoosePolicy, WithoutOneTheConfigurationStands) {
  const PolicyChoice choice = Choose({Policy("other", For(R"({"matchLabels":{"zone":"b"}})"))});
  EXPECT_EQ(choice.name, "");
  EXPECT_EQ(choice.fault, "");
  EXPECT_FALSE(choice.max_mode);
  EXPECT_FALSE(choice.params);
}

TEST(ChoosePolicy, OfTwoEquallySpecificOnesNeitherIsInForce) {
  const auto one = Policy("one", For(R"({"matchLabels":{"zone":"a"}})"));
  const auto two = Policy("two", For(R"({"matchLabels":{"disk":"ssd"}})"));
  for (const Policies& order :
       {Policies{one, two, Policy("all", "{}")}, Policies{two, Policy("all", "{}"), one}}) {
    const PolicyChoice choice = Choose(order);
    EXPECT_EQ(choice.name, "");
    EXPECT_FALSE(choice.params);
    EXPECT_THAT(choice.fault, testing::AllOf(HasSubstr("one"), HasSubstr("two")));
  }
}

TEST(ChoosePolicy, ItsFieldsStandOverTheConfigurations) {
  PolicyParams own;
  own.reserve = Bytes::GiB(3);
  own.guest_parameters = {{"settle_ms", "9"}, {"order", "9"}};
  const PolicyChoice choice = ChoosePolicy(
      {Policy(
          "p",
          R"({"maxMode":"reclaim","growth":"20%","historyMin":"1m","ratioCap":"150%",)"
          R"("buffer":{"ofHost":"6%","ofVM":"30.5%"},"hysteresis":{"riseDelay":"0s","riseStep":"100%"},)"
          R"("hints":{"settleMs":50,"rateMiBPerSecond":0}})")},
      kLabels, own);
  EXPECT_EQ(choice.max_mode, Mode::kReclaim);
  ASSERT_TRUE(choice.params);
  EXPECT_EQ(choice.params->growth, Permyriad{2000});
  EXPECT_EQ(choice.params->history_min, seconds(60));
  EXPECT_EQ(choice.params->ratio_cap, Permyriad{15000});
  EXPECT_EQ(choice.params->buffer_of_host, Permyriad{600});
  EXPECT_EQ(choice.params->buffer_of_vm, Permyriad{3050});
  EXPECT_EQ(choice.params->rise_delay, seconds(0));
  EXPECT_EQ(choice.params->rise_step, Permyriad{10000});
  EXPECT_EQ(choice.params->reserve, Bytes::GiB(3));
  EXPECT_EQ(choice.params->guest_parameters,
            (std::map<std::string, std::string>{
                {"settle_ms", "50"}, {"rate_mib_s", "0"}, {"order", "9"}}));
  EXPECT_EQ(choice.fault, "");
}

TEST(ChoosePolicy, WhatMakesNoSenseIsNamedAndTheConfigurationsOwnApplies) {
  const PolicyChoice choice = Choose({Policy(
      "p",
      R"({"maxMode":"everything","growth":"200%","historyMin":"1500ms","ratioCap":"99%",)"
      R"("buffer":{"ofHost":"cheese"},"hysteresis":{"riseDelay":"25h"},"hints":{"settleMs":9999}})")});
  EXPECT_EQ(choice.name, "p");
  EXPECT_EQ(choice.max_mode, Mode::kObserve);
  EXPECT_EQ(choice.params->growth, PolicyParams{}.growth);
  EXPECT_EQ(choice.params->history_min, PolicyParams{}.history_min);
  EXPECT_EQ(choice.params->ratio_cap, PolicyParams{}.ratio_cap);
  EXPECT_TRUE(choice.params->guest_parameters.empty());
  for (const char* field : {"maxMode", "growth", "historyMin", "ratioCap", "buffer.ofHost",
                            "hysteresis.riseDelay", "hints.settleMs"}) {
    EXPECT_THAT(choice.fault, HasSubstr(field));
  }
}

TEST(ChoosePolicy, OneThatMakesNoSenseIsPassedOverAndNamed) {
  Policies policies{Policy("good", "{}")};
  for (const char* bad : {R"([{"key":"zone","operator":"Like","values":["a"]}])",
                          R"([{"key":"zone","operator":"In"}])", R"([{"operator":"Exists"}])",
                          R"([{"key":"zone","operator":"Exists","values":["a"]}])"}) {
    policies.resize(1);
    policies.push_back(Policy("bad", For(R"({"matchExpressions":)" + std::string(bad) + "}")));
    const PolicyChoice choice = Choose(policies);
    EXPECT_EQ(choice.name, "good") << bad;
    EXPECT_THAT(choice.fault, HasSubstr("bad")) << bad;
  }
  policies[1] = {};
  policies[1].object.mutable_metadata()->set_name("unreadable");
  policies[1].fault = "spec: no object";
  EXPECT_THAT(Choose(policies).fault, HasSubstr("unreadable is passed over: spec: no object"));
}

}  // namespace
}  // namespace ullage::sources
