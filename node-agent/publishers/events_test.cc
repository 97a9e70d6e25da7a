// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/events.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "node-agent/kube/fake_api_server.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Events : public testing::Test {
 protected:
  Events() { report_.snapshot.node = NodeSample{}; }

  VmiSample& AddVmi(const std::string& name) {
    VmiSample& vmi = report_.snapshot.node->vmis.Edit().emplace_back();
    vmi.spec.id.value = "uid-" + name;
    vmi.name_space = "apps";
    vmi.name = name;
    return vmi;
  }
  void Step() {
    report_.snapshot.at = time_.Now();
    writer_.Step(report_, {});
    time_.now += seconds(1);
  }

  kube::FakeTime time_;
  std::shared_ptr<kube::FakeTransport> server_ = std::make_shared<kube::FakeTransport>();
  kube::Client client_{server_, {time_, time_, kube::AlwaysHundred()}};
  std::vector<std::string> said_;
  EventRules rules_{};
  EventWriter writer_{client_, rules_, "n1",
                      [this](const std::string& line) { said_.push_back(line); }};
  Report report_ = SampleReport();
};

TEST_F(Events, TellTheOwnerOnceWhatIsWrong) {
  AddVmi("web").spec.bad_setting = "ullage.io/reclaim: 'sometimes' is none of hints, hybrid, off";
  server_->Say(201, "{}");
  for (int i = 0; i < 100; ++i) Step();
  ASSERT_THAT(server_->requests, SizeIs(1));
  EXPECT_EQ(server_->requests[0].method, "POST");
  EXPECT_EQ(server_->requests[0].target, "/api/v1/namespaces/apps/events");
  const auto event = nlohmann::json::parse(server_->requests[0].body);
  EXPECT_EQ(event["involvedObject"]["kind"], "VirtualMachineInstance");
  EXPECT_EQ(event["involvedObject"]["name"], "web");
  EXPECT_EQ(event["involvedObject"]["uid"], "uid-web");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "BadSetting");
  EXPECT_THAT(event["message"], HasSubstr("'sometimes'"));
  EXPECT_EQ(event["count"], 1);
  EXPECT_EQ(event["firstTimestamp"], "1970-01-01T00:00:01Z");
  EXPECT_EQ(event["source"]["host"], "n1");
}

TEST_F(Events, ObservingTouchesNobodysObjects) {
  AddVmi("web").exempt = "it has dedicated CPUs";
  report_.mode = "observe";
  Step();
  EXPECT_THAT(server_->requests, IsEmpty());
  report_.mode = "reclaim";
  server_->Say(201, "{}");
  Step();
  EXPECT_THAT(server_->requests, SizeIs(1));
}

TEST_F(Events, CountAgainWhenItComesBack) {
  AddVmi("web").exempt = "it has dedicated CPUs";
  server_->Say(201, "{}");
  Step();
  report_.snapshot.node->vmis.Edit()[0].exempt.clear();
  Step();
  report_.snapshot.node->vmis.Edit()[0].exempt = "it has dedicated CPUs";
  server_->Say(200, "{}");
  Step();
  ASSERT_THAT(server_->requests, SizeIs(2));
  EXPECT_EQ(server_->requests[1].method, "PATCH");
  EXPECT_EQ(nlohmann::json::parse(server_->requests[1].body),
            (nlohmann::json{{"count", 2}, {"lastTimestamp", "1970-01-01T00:00:03Z"}}));
}

TEST_F(Events, SayItAnewWhenTheOldOneHasExpired) {
  AddVmi("web").exempt = "it has dedicated CPUs";
  server_->Say(201, "{}");
  Step();
  report_.snapshot.node->vmis.Edit()[0].exempt.clear();
  Step();
  report_.snapshot.node->vmis.Edit()[0].exempt = "it has dedicated CPUs";
  server_->Say(404, "{}");
  server_->Say(201, "{}");
  Step();
  ASSERT_THAT(server_->requests, SizeIs(3));
  EXPECT_EQ(server_->requests[2].method, "POST");
}

TEST_F(Events, AnAgentThatStartsAnewRepeatsNothing) {
  AddVmi("web").exempt = "it has dedicated CPUs";
  server_->Say(409, R"({"reason":"AlreadyExists"})");
  server_->Say(200, R"({"count":3})");
  for (int i = 0; i < 10; ++i) Step();
  EXPECT_THAT(server_->requests, SizeIs(2));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(Events, OfManyVmsComeAtABoundedRateAndAllOfThem) {
  constexpr std::size_t kVms = 60;
  for (std::size_t i = 0; i < kVms; ++i) {
    AddVmi("web-" + std::to_string(i)).exempt = "it has dedicated CPUs";
    server_->Say(201, "{}");
  }
  Step();
  EXPECT_THAT(server_->requests, SizeIs(4));
  for (int i = 0; i < 20; ++i) Step();
  EXPECT_LE(server_->requests.size(), 36u);
  for (int i = 0; i < 100; ++i) Step();
  EXPECT_THAT(server_->requests, SizeIs(kVms));
}

TEST_F(Events, ANamespaceThatIsGoneKeepsNobodyWaiting) {
  AddVmi("a").exempt = "it has dedicated CPUs";
  AddVmi("b").exempt = "it has dedicated CPUs";
  server_->Say(404, R"({"reason":"NotFound"})");
  server_->Say(201, "{}");
  for (int i = 0; i < 10; ++i) Step();
  EXPECT_THAT(server_->requests, SizeIs(2));
  EXPECT_EQ(writer_.Counts().written, 1u);
  EXPECT_EQ(writer_.Counts().dropped, 1u);
}

TEST_F(Events, ARightThatIsMissingIsSaidOnce) {
  for (int i = 0; i < 5; ++i) AddVmi("web-" + std::to_string(i)).exempt = "it is a realtime VM";
  for (int i = 0; i < 200; ++i) server_->Say(403, R"({"reason":"Forbidden"})");
  for (int i = 0; i < 300; ++i) Step();
  EXPECT_THAT(said_, SizeIs(1));
  EXPECT_LE(server_->requests.size(), 10u);
}

TEST_F(Events, ThereIsABoundToWhatIsRemembered) {
  EventRules few;
  few.most_known = 2;
  EventWriter writer(client_, few, "n1", {});
  for (int i = 0; i < 5; ++i) {
    AddVmi("web-" + std::to_string(i)).exempt = "it is a realtime VM";
    server_->Say(201, "{}");
  }
  writer.Step(report_, {});
  EXPECT_THAT(server_->requests, SizeIs(2));
  EXPECT_EQ(writer.Counts().dropped, 3u);
  // VMs that are gone make room.
  auto& vmis = report_.snapshot.node->vmis.Edit();
  vmis.erase(vmis.begin(), vmis.begin() + 2);
  writer.Step(report_, {});
  writer.Step(report_, {});
  EXPECT_THAT(server_->requests, SizeIs(4));
}

TEST_F(Events, SayWhatToDoWhereHintingIsOff) {
  VmiSample& vmi = AddVmi("web");
  vmi.spec.id = report_.snapshot.vms[0].spec.id;
  EXPECT_THAT(NoticesOf(report_), IsEmpty());
  for (const auto& [hinting, word] : {std::pair{Hinting::kNoBalloon, "autoattachMemBalloon"},
                                      {Hinting::kNotOffered, "free-page-reporting-disabled"},
                                      {Hinting::kNotNegotiated, "Linux 5.7"}}) {
    report_.snapshot.vms[0].hinting = hinting;
    const auto notices = NoticesOf(report_);
    ASSERT_THAT(notices, SizeIs(1));
    EXPECT_EQ(notices[0].reason, "HintingOff");
    EXPECT_THAT(notices[0].message, HasSubstr(word));
  }
  vmi.hints_off = "KubeVirt's configuration has disableFreePageReporting";
  EXPECT_THAT(NoticesOf(report_)[0].message, HasSubstr("disableFreePageReporting"));
  vmi.spec.reclaim = Reclaim::kOff;
  EXPECT_THAT(NoticesOf(report_), IsEmpty());
}

TEST_F(Events, TellWhatWasDoneAndWhatFailed) {
  const VmiSample& vmi = AddVmi("web");
  const Action action{Action::Kind::kSwitchHintingOn, vmi.spec.id, "for its next start"};
  report_.outcomes = {{action, Outcome::State::kQueued, ""},
                      {action, Outcome::State::kDone, "its pod ends"},
                      {action, Outcome::State::kFailed, "no answer"}};
  const auto notices = NoticesOf(report_);
  ASSERT_THAT(notices, SizeIs(2));
  EXPECT_EQ(notices[0].reason, "ReclaimAction");
  EXPECT_FALSE(notices[0].lasts);
  EXPECT_THAT(notices[0].message, HasSubstr("its pod ends"));
  EXPECT_THAT(notices[1].message, HasSubstr("no answer"));
}

TEST_F(Events, TellOfAnEvictionBeforeTheVmHasEnded) {
  const VmiSample& vmi = AddVmi("web");
  report_.outcomes = {
      {{Action::Kind::kEvict, vmi.spec.id, "64 MiB is left"}, Outcome::State::kQueued, ""}};
  const auto notices = NoticesOf(report_);
  ASSERT_THAT(notices, SizeIs(1));
  EXPECT_EQ(notices[0].message, "evict: 64 MiB is left");
  EXPECT_FALSE(notices[0].warning);
}

TEST_F(Events, TellTheOwnerOfARejectedPod) {
  report_.snapshot.node->name = "n1";
  report_.snapshot.node->rejected.push_back(
      {"pod-uid", "apps", "virt-launcher-web-x", "web", "vmi-uid",
       "OutOfullage.io/reclaimable-memory",
       "Node didn't have enough resource: ullage.io/reclaimable-memory, requested: 2, used: 1, "
       "capacity: 2",
       "2026-01-01T00:00:00Z"});
  server_->Say(201, "{}");
  for (int i = 0; i < 50; ++i) Step();
  // The object goes, and with it what is remembered of it.
  report_.snapshot.node->rejected.clear();
  for (int i = 0; i < 50; ++i) Step();
  ASSERT_THAT(server_->requests, SizeIs(1)) << "its VMI has ended and is in no report";
  const auto event = nlohmann::json::parse(server_->requests[0].body);
  EXPECT_EQ(event["involvedObject"]["kind"], "VirtualMachineInstance");
  EXPECT_EQ(event["involvedObject"]["name"], "web");
  EXPECT_EQ(event["involvedObject"]["uid"], "vmi-uid");
  EXPECT_EQ(event["involvedObject"]["namespace"], "apps");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "PodRejected");
  EXPECT_THAT(event["message"], HasSubstr("virt-launcher-web-x"));
  EXPECT_THAT(event["message"], HasSubstr("node n1"));
  EXPECT_THAT(event["message"], HasSubstr("was taken back"));
  EXPECT_THAT(event["message"], HasSubstr("KubeVirt starts"));
  EXPECT_THAT(event["message"], HasSubstr("OutOfullage.io/reclaimable-memory"));
}

TEST_F(Events, TellAtTheRejectedPodWhereItIsNoVmsAndBlameWhatItIs) {
  report_.snapshot.node->rejected.push_back(
      {"pod-uid", "apps", "job-1", "", "", "OutOfcpu", std::string(4000, 'x'), ""});
  server_->Say(201, "{}");
  Step();
  ASSERT_THAT(server_->requests, SizeIs(1));
  const auto event = nlohmann::json::parse(server_->requests[0].body);
  EXPECT_EQ(event["involvedObject"]["kind"], "Pod");
  EXPECT_EQ(event["involvedObject"]["apiVersion"], "v1");
  EXPECT_EQ(event["involvedObject"]["name"], "job-1");
  EXPECT_EQ(event["involvedObject"]["uid"], "pod-uid");
  const std::string message = event["message"];
  EXPECT_LE(message.size(), kNoticeLimit);
  EXPECT_THAT(message, HasSubstr("OutOfcpu"));
  EXPECT_THAT(message, testing::Not(HasSubstr("taken back")));
  EXPECT_THAT(message, testing::Not(HasSubstr("KubeVirt")));
}

TEST_F(Events, HaveNamesThatKubernetesTakes) {
  Notice notice{"apps", std::string(250, 'x'), "u", false, "R", "m", true};
  EXPECT_LE(EventName(notice).size(), 253u);
  notice.name = std::string(235, 'x') + "-b";
  EXPECT_THAT(EventName(notice), HasSubstr("x."));
  notice.name = "web";
  const std::string name = EventName(notice);
  notice.message = "n";
  EXPECT_NE(EventName(notice), name);
}

}  // namespace
}  // namespace ullage::publishers
