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

TEST(ChoosePolicy, SaysHowFarAheadAndWhichRiseIsWorthAWrite) {
  const auto with = [](const std::string& horizon, const std::string& band) {
    return Choose({Policy(
        "p", R"({"horizon":")" + horizon + R"(","hysteresis":{"deadBand":")" + band + "\"}}")});
  };
  for (const auto& [horizon, is] : {std::pair{"60s", 60}, {"5m", 300}, {"1h", 3600}}) {
    EXPECT_EQ(with(horizon, "").params->horizon, seconds(is));
    EXPECT_EQ(with(horizon, "").fault, "");
  }
  EXPECT_EQ(with("", "").params->least_rise, std::nullopt);
  EXPECT_EQ(with("", "0").params->least_rise, Bytes());
  EXPECT_EQ(with("", "256Mi").params->least_rise, Bytes::MiB(256));
  EXPECT_EQ(with("", "64Gi").params->least_rise, Bytes::GiB(64));
  for (const char* bad : {"59s", "3601s", "2h", "0s", "soon", "60500ms"}) {
    EXPECT_EQ(with(bad, "").params->horizon, PolicyParams{}.horizon) << bad;
    EXPECT_THAT(with(bad, "").fault, HasSubstr("horizon is '")) << bad;
  }
  for (const char* bad : {"65Gi", "-1", "much", "99999999999Gi", "1\u00e9"}) {
    EXPECT_EQ(with("", bad).params->least_rise, std::nullopt) << bad;
    EXPECT_THAT(with("", bad).fault, HasSubstr("hysteresis.deadBand is '")) << bad;
  }
}

TEST(ChoosePolicy, SetsTheMarksOfPressure) {
  const auto with = [](const std::string& pressure) {
    return Choose({Policy("p", R"({"pressure":{)" + pressure + "}}")});
  };
  const auto all = with(
      R"("psiSome":"1.5%","stopPublishingBelow":"90%","shrinkBelow":"60%","migrateBelow":"60%",)"
      R"("evictBelow":"0%")");
  EXPECT_EQ(all.fault, "");
  EXPECT_EQ(all.params->hybrid.pressure, Permyriad{150});
  EXPECT_EQ(all.params->hybrid.hold_below, Permyriad{9000});
  EXPECT_EQ(all.params->hybrid.shrink_below, Permyriad{6000});
  EXPECT_EQ(all.params->hybrid.limit_below, Permyriad{6000});
  EXPECT_EQ(all.params->hybrid.evict_below, Permyriad{0});
  const auto one = with(R"("migrateBelow":"40%")");
  EXPECT_EQ(one.fault, "");
  EXPECT_EQ(one.params->hybrid.limit_below, Permyriad{4000});
  EXPECT_EQ(one.params->hybrid.shrink_below, HybridParams{}.shrink_below);
}

TEST(ChoosePolicy, MarksOfPressureThatMakeNoSenseLeaveTheConfigurations) {
  const auto with = [](const std::string& pressure) {
    return Choose({Policy("p", R"({"pressure":{)" + pressure + "}}")});
  };
  const HybridParams own;
  for (const char* mark :
       {R"("stopPublishingBelow":"63%")", R"("shrinkBelow":"31%")", R"("migrateBelow":"65%")",
        R"("evictBelow":"33%")", R"("psiSome":"2%","evictBelow":"20%","migrateBelow":"10%")"}) {
    const auto choice = with(mark);
    EXPECT_THAT(choice.fault, HasSubstr("do not fall in this order")) << mark;
    EXPECT_EQ(choice.params->hybrid.hold_below, own.hold_below) << mark;
    EXPECT_EQ(choice.params->hybrid.shrink_below, own.shrink_below) << mark;
    EXPECT_EQ(choice.params->hybrid.limit_below, own.limit_below) << mark;
    EXPECT_EQ(choice.params->hybrid.evict_below, own.evict_below) << mark;
  }
  for (const char* field :
       {"psiSome", "stopPublishingBelow", "shrinkBelow", "migrateBelow", "evictBelow"}) {
    for (const char* bad : {"101%", "cheese", "10"}) {
      const auto choice = with('"' + std::string(field) + R"(":")" + bad + '"');
      EXPECT_THAT(choice.fault, HasSubstr("pressure." + std::string(field))) << bad;
      EXPECT_EQ(choice.params->hybrid.evict_below, own.evict_below) << bad;
    }
  }
  EXPECT_THAT(with(R"("psiSome":"0%")").fault, HasSubstr("pressure.psiSome"));
  EXPECT_EQ(with(R"("psiSome":"0%")").params->hybrid.pressure, own.pressure);
  EXPECT_EQ(with("").fault, "");
}

TEST(ChoosePolicy, AnAgentsOwnMarksAreItsOwnAffair) {
  PolicyParams own;
  own.hybrid.evict_below = Permyriad{9000};
  const auto choice = ChoosePolicy({Policy("p", R"({"growth":"20%"})")}, kLabels, own);
  EXPECT_EQ(choice.fault, "");
  EXPECT_EQ(choice.params->hybrid.evict_below, Permyriad{9000});
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
