// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_resource.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <random>

#include "node-agent/kube/fake_api_server.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr Bytes kQuantum = Bytes::MiB(64);
constexpr Bytes Q(std::int64_t n) { return Bytes(n * kQuantum.count()); }

ResourceFacts Publishing(OnNode seen, Bytes wanted, Bytes granted) {
  return {true, true, false, seen, wanted, granted};
}

// One node: what is written is on it at once.
class Rules : public testing::Test {
 protected:
  std::optional<ResourceWrite> Next(const ResourceFacts& facts) {
    return NextWrite(facts, rules_, state_, now_);
  }
  std::optional<ResourceWrite> Step(const ResourceFacts& facts) {
    const auto write = Next(facts);
    if (write) Wrote(*write, facts, rules_, 0.5, state_, now_);
    return write;
  }

  ResourceRules rules_;
  ResourceState state_;
  BootTime now_{seconds(1000)};
};

TEST_F(Rules, WritesWholeQuantaAndNothingWhileNothingChanges) {
  const auto write = Next(Publishing({}, Q(10) + Bytes(1), Bytes()));
  ASSERT_TRUE(write);
  EXPECT_EQ(write->value, Q(10));
  EXPECT_FALSE(Next(Publishing(Q(10), Q(10) + Bytes(1), Bytes())));
}

TEST_F(Rules, GoesDownAtOnceAndNeverBelowWhatIsGranted) {
  EXPECT_EQ(Next(Publishing(Q(10), Q(9), Bytes()))->value, Q(9));
  EXPECT_EQ(Next(Publishing(Q(10), Q(2), Q(5)))->value, Q(5));
  // A pod need not hold whole quanta.
  EXPECT_EQ(Next(Publishing(Q(10), Q(5), Q(5) + Bytes(1)))->value, Q(6));
}

TEST_F(Rules, GoesUpOnlyOnceAMinuteAndBeyondTheDeadBand) {
  EXPECT_FALSE(Next(Publishing(Q(10), Q(11), Q(1))));
  ASSERT_TRUE(Step(Publishing(Q(10), Q(12), Q(1))));
  EXPECT_FALSE(Next(Publishing(Q(12), Q(20), Q(1))));
  now_ += seconds(59);
  EXPECT_FALSE(Next(Publishing(Q(12), Q(20), Q(1))));
  now_ += seconds(10);  // with the jitter
  EXPECT_EQ(Next(Publishing(Q(12), Q(20), Q(1)))->value, Q(20));
  rules_.increase_every = milliseconds(0);
  EXPECT_TRUE(Step(Publishing(Q(12), Q(20), Q(1))));
  EXPECT_TRUE(Next(Publishing(Q(20), Q(30), Q(1))));
}

TEST_F(Rules, ABindThatWasFasterThanADecreaseIsMadeGoodAtOnce) {
  ASSERT_TRUE(Step(Publishing({}, Q(10), Q(4))));
  ASSERT_TRUE(Step(Publishing(Q(10), Q(4), Q(4))));
  // In the same minute, and although the turn for an increase has not come.
  const auto write = Step(Publishing(Q(4), Q(6), Q(5)));
  ASSERT_TRUE(write);
  EXPECT_EQ(write->value, Q(5));
  EXPECT_FALSE(write->increase);
}

TEST_F(Rules, IsRemovedAndNeverZero) {
  EXPECT_EQ(Next(Publishing(Q(3), Bytes(), Bytes()))->value, std::nullopt);
  EXPECT_FALSE(Next(Publishing({}, Bytes(), Bytes())));
  EXPECT_FALSE(Next(Publishing({}, Bytes::MiB(63), Bytes())));
  // 0 on the Node is no key's absence.
  EXPECT_EQ(Next(Publishing(Bytes(), Bytes(), Bytes()))->value, std::nullopt);
  EXPECT_EQ(Next(Publishing(Q(3), Bytes(-1), Bytes(-5)))->value, std::nullopt);
}

TEST_F(Rules, ObserveWritesNoValueAndRemovesWhatIsLeft) {
  ResourceFacts facts = Publishing({}, Q(10), Q(2));
  facts.publish = false;
  EXPECT_FALSE(Next(facts));
  facts.seen = Q(10);
  EXPECT_EQ(Next(facts)->value, std::nullopt);
}

TEST_F(Rules, NothingIsWrittenOnOldWordsAndTheOldestAreWithdrawn) {
  ResourceFacts facts = Publishing(Q(10), Q(2), Q(1));
  facts.followed = false;
  EXPECT_FALSE(Next(facts));
  facts.lost = true;
  ASSERT_TRUE(Next(facts));
  EXPECT_EQ(Step(facts)->value, std::nullopt);
  // The watch is away and shows the same for ever: one write is enough.
  now_ += seconds(3600);
  EXPECT_FALSE(Next(facts));
}

TEST_F(Rules, AWriteIsBelievedUntilTheWatchShowsIt) {
  ASSERT_TRUE(Step(Publishing(Q(10), Q(8), Q(1))));
  EXPECT_FALSE(Next(Publishing(Q(10), Q(8), Q(1))));  // not seen yet
  ASSERT_TRUE(Step(Publishing(Q(10), Q(6), Q(1))));
  EXPECT_FALSE(Next(Publishing(Q(8), Q(6), Q(1))));  // the first of the two
  EXPECT_FALSE(Next(Publishing(Q(6), Q(6), Q(1))));
  // Somebody else wrote.
  EXPECT_EQ(Next(Publishing(Q(8), Q(6), Q(1)))->value, Q(6));
}

TEST_F(Rules, AWriteThatIsUndoneIsMadeAgainAfterAWhile) {
  ASSERT_TRUE(Step(Publishing(Q(10), Q(8), Q(1))));
  now_ += rules_.believe_for;
  EXPECT_EQ(Next(Publishing(Q(10), Q(8), Q(1)))->value, Q(8));
}

// A node, its watch that lags, pods that are bound and end, and an agent that wants anything.
TEST(ResourceProperty, HoldsTheRulesWhateverHappens) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    const auto below = [&](int n) {
      return static_cast<std::int64_t>(random() % static_cast<unsigned>(n));
    };
    const ResourceRules rules;
    ResourceState state;
    BootTime now{seconds(100)};
    std::vector<OnNode> history{OnNode()};
    std::optional<BootTime> last_increase;
    std::size_t shown = 0;
    Bytes granted;
    Bytes additional;
    for (int tick = 0; tick < 300; ++tick, now += seconds(1)) {
      if (below(8) == 0) granted = Bytes(below(20) * kQuantum.count() / (1 + below(3)));
      if (below(4) == 0) additional = Q(below(30));
      // A watch lags, and never goes back.
      shown = std::min(history.size() - 1, shown + static_cast<std::size_t>(below(3)));
      const OnNode real = history.back();
      const ResourceFacts facts = Publishing(history[shown], granted + additional, granted);
      const auto write = NextWrite(facts, rules, state, now);
      if (write) {
        Wrote(*write, facts, rules, 0, state, now);
        history.push_back(write->value);
        if (write->value) {
          EXPECT_GE(*write->value, granted);
          EXPECT_GT(*write->value, Bytes());
          EXPECT_EQ(write->value->FloorTo(kQuantum), *write->value);
        } else {
          EXPECT_EQ(granted, Bytes());
        }
        if (write->increase) {
          if (last_increase) {
            EXPECT_GE(now - *last_increase, rules.increase_every);
          }
          last_increase = now;
        }
        if (write->value && real && *write->value > *real && !write->increase) {
          EXPECT_EQ(*write->value, granted.CeilTo(kQuantum));
        }
      } else if (shown + 1 == history.size()) {
        // Whoever is bound has what he holds, at the tick that knows of him.
        EXPECT_GE(real.value_or(Bytes()), granted);
      }
    }
    // Once nothing changes, nothing is written.
    for (int tick = 0; tick < 200; ++tick, now += seconds(1)) {
      const ResourceFacts facts = Publishing(history.back(), granted + additional, granted);
      const auto write = NextWrite(facts, rules, state, now);
      if (!write) continue;
      EXPECT_LT(tick, 100);
      Wrote(*write, facts, rules, 0, state, now);
      history.push_back(write->value);
    }
  }
}

TEST(ResourceRules, AReclaimPolicysDeadBandStandsOverTheConfigurations) {
  ResourceRules own;
  own.dead_band = Bytes::MiB(128);
  Report report = SampleReport();
  EXPECT_EQ(RulesOf(report, own).dead_band, Bytes::MiB(128));
  report.snapshot.node.emplace();
  EXPECT_EQ(RulesOf(report, own).dead_band, Bytes::MiB(128)) << "no policy";
  report.snapshot.node->params.emplace();
  EXPECT_EQ(RulesOf(report, own).dead_band, Bytes::MiB(128)) << "it says nothing of it";
  for (const Bytes band : {Bytes(), Bytes::MiB(64), Bytes::GiB(1)}) {
    report.snapshot.node->params->least_rise = band;
    EXPECT_EQ(RulesOf(report, own).dead_band, band);
  }
}

TEST(ResourceFacts, CountsEveryPodAndWantsFreshWords) {
  Report report = SampleReport();
  const ResourceRules rules;
  EXPECT_FALSE(FactsOf(report, rules).followed);
  report.snapshot.node = NodeSample{};
  NodeSample& node = *report.snapshot.node;
  EXPECT_FALSE(FactsOf(report, rules).followed);
  EXPECT_FALSE(FactsOf(report, rules).lost);
  node.heard_at = report.snapshot.at.boot;
  node.published = Q(3);
  for (const std::int64_t quanta : {2, 3}) {
    PodSample& pod = node.pods.Edit().emplace_back();
    pod.reclaimable = Q(quanta);
  }
  ResourceFacts facts = FactsOf(report, rules);
  EXPECT_TRUE(facts.followed && facts.publish);
  EXPECT_EQ(facts.seen, Q(3));
  EXPECT_EQ(facts.granted, Q(5));  // more than the plan knows of
  EXPECT_EQ(facts.wanted, Q(5) + report.plan.capacity.additional);
  node.fault = "the watch broke";
  EXPECT_FALSE(FactsOf(report, rules).followed);
  node.fault.clear();
  report.snapshot.at.boot += seconds(151);
  EXPECT_FALSE(FactsOf(report, rules).followed);
  EXPECT_FALSE(FactsOf(report, rules).lost);
  report.snapshot.at.boot += seconds(150);
  EXPECT_TRUE(FactsOf(report, rules).lost);
  report.mode = "observe";
  EXPECT_FALSE(FactsOf(report, rules).publish);
}

// The writer, with an API server that says what it is told to.
class ResourceWriter : public testing::Test {
 protected:
  ResourceWriter() {
    report_.snapshot.node = NodeSample{};
    report_.snapshot.node->name = "n1";
    report_.plan.capacity.granted = Q(1);
    report_.plan.capacity.additional = Q(7);
  }
  void Step() {
    report_.snapshot.at = time_.Now();
    report_.snapshot.node->heard_at = time_.Now().boot;
    writer_.Step(report_, {});
  }

  kube::FakeTime time_;
  std::shared_ptr<kube::FakeTransport> server_ = std::make_shared<kube::FakeTransport>();
  kube::Client client_{server_, {time_, time_, [] { return std::uint64_t{512}; }}};
  std::vector<std::string> said_;
  NodeResource writer_{client_, {}, [this](const std::string& line) { said_.push_back(line); }};
  Report report_ = SampleReport();
};

TEST_F(ResourceWriter, PatchesBothMapsAtOnce) {
  server_->Say(200, "{}");
  Step();
  Step();  // the watch has not shown it yet
  ASSERT_THAT(server_->requests, SizeIs(1));
  const auto& request = server_->requests[0];
  EXPECT_EQ(request.method, "PATCH");
  EXPECT_EQ(request.target, "/api/v1/nodes/n1/status");
  EXPECT_EQ(request.content_type, "application/json-patch+json");
  const auto patch = nlohmann::json::parse(request.body);
  ASSERT_THAT(patch, SizeIs(2));
  EXPECT_EQ(patch[0]["path"], "/status/capacity/ullage.io~1reclaimable-memory");
  EXPECT_EQ(patch[1]["path"], "/status/allocatable/ullage.io~1reclaimable-memory");
  EXPECT_EQ(patch[1]["value"], std::to_string(Q(8).count()));
  EXPECT_EQ(writer_.Counts().written, 1u);
}

TEST_F(ResourceWriter, AnApiServerThatIsAwayGetsOneWriteWithTheLatestValue) {
  for (int i = 0; i < 600; ++i) server_->Break(Code::kUnavailable);
  for (int tick = 0; tick < 60; ++tick, time_.now += seconds(1)) {
    report_.plan.capacity.additional = Q(10 + tick);
    Step();
  }
  const auto tries = server_->requests.size();
  EXPECT_GE(tries, 3u);
  EXPECT_LE(tries, 20u);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("broken")));
  server_->replies.clear();
  server_->Say(200, "{}");
  for (int tick = 0; tick < 60; ++tick, time_.now += seconds(1)) {
    Step();
    if (writer_.Counts().written > 0) {
      report_.snapshot.node->published = Q(70);  // the watch comes round
    }
  }
  ASSERT_THAT(server_->requests, SizeIs(tries + 1));
  EXPECT_THAT(server_->requests.back().body, HasSubstr(std::to_string(Q(1 + 69).count())));
  EXPECT_THAT(said_, SizeIs(3));
  EXPECT_EQ(writer_.Counts().failed, tries);
}

TEST_F(ResourceWriter, ARightThatIsMissingIsSaidOnceAndTriedSeldom) {
  for (int i = 0; i < 600; ++i) server_->Say(403, R"({"reason":"Forbidden"})");
  for (int tick = 0; tick < 600; ++tick, time_.now += seconds(1)) Step();
  EXPECT_THAT(said_, ElementsAre(HasSubstr("403 Forbidden")));
  EXPECT_LE(server_->requests.size(), 12u);
}

TEST_F(ResourceWriter, TakesThePromiseBackWhenTheAgentEnds) {
  report_.snapshot.node->published = Q(8);
  report_.snapshot.node->heard_at = report_.snapshot.at.boot;
  server_->Say(200, "{}");
  writer_.Retire(report_);
  ASSERT_THAT(server_->requests, SizeIs(1));
  const auto patch = nlohmann::json::parse(server_->requests[0].body);
  ASSERT_THAT(patch, SizeIs(4));  // added and removed: it need not be there
  EXPECT_EQ(patch[1]["op"], "remove");
  EXPECT_EQ(patch[3]["op"], "remove");
}

TEST_F(ResourceWriter, InObserveTheEndWritesNothing) {
  report_.mode = "observe";
  report_.snapshot.node->published = Q(8);
  report_.snapshot.node->heard_at = report_.snapshot.at.boot;
  writer_.Retire(report_);
  EXPECT_THAT(server_->requests, SizeIs(0));
}

}  // namespace
}  // namespace ullage::publishers
