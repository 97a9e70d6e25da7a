// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_reclaim.h"

#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "node-agent/kube/fake_api_server.h"
#include "node-agent/publishers/report_fixture.h"
#include "node-agent/publishers/shaken_report.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

void AddVm(Report& report, const std::string& name, Bytes promised) {
  // In the order of ids.
  VmState vm = SampleVm("apps/" + name, "uid-" + std::to_string(100 + report.snapshot.vms.size()));
  vm.promised = promised;
  VmiSample vmi;
  vmi.spec = vm.spec;
  vmi.name_space = "apps";
  vmi.name = name;
  report.plan.vms.push_back({vm.spec.id, Bytes::MiB(100), "may grow"});
  report.snapshot.vms.push_back(std::move(vm));
  report.snapshot.node->vmis.Edit().push_back(std::move(vmi));
}

Report NodeReport() {
  Report report = SampleReport();
  report.snapshot.vms.clear();
  report.plan.vms.clear();
  report.snapshot.node = NodeSample{};
  NodeSample& node = *report.snapshot.node;
  node.name = "n1";
  node.uid = "4-2";
  node.policy = "workers";
  report.plan.capacity.terms->bound = Bytes::MiB(500);
  AddVm(report, "web", Bytes::GiB(2));
  return report;
}

const k8s::Condition& ConditionOf(const k8s::NodeReclaim& object, int index) {
  return object.status().conditions(index);
}

TEST(NodeReclaim, SaysWhatTheNodeHas) {
  const auto object = ReclaimOf(NodeReport(), {});
  EXPECT_EQ(object.metadata().name(), "n1");
  EXPECT_EQ(object.metadata().owner_references(0).kind(), "Node");
  EXPECT_EQ(object.metadata().owner_references(0).uid(), "4-2");
  const auto& status = object.status();
  EXPECT_EQ(status.observed_at(), "2023-11-14T22:13:20Z");
  EXPECT_EQ(status.mode(), "publish");
  EXPECT_EQ(status.policy(), "workers");
  EXPECT_EQ(status.reclaimable(), "448Mi");
  EXPECT_EQ(status.published(), "512Mi");
  EXPECT_EQ(status.granted(), "64Mi");
  EXPECT_EQ(status.sum().bound(), "500Mi");
  EXPECT_EQ(status.vm_count(), 1);
  ASSERT_EQ(status.vms_size(), 1);
  EXPECT_EQ(status.vms(0).namespace_(), "apps");
  EXPECT_EQ(status.vms(0).name(), "web");
  EXPECT_EQ(status.vms(0).returned(), "1536Mi");
  EXPECT_EQ(status.vms(0).hinting(), "on");
  ASSERT_EQ(status.conditions_size(), 4);
  for (const auto& condition : status.conditions()) EXPECT_EQ(condition.status(), "True");
}

TEST(NodeReclaim, SaysWhatItsForecastsWereWorth) {
  Report report = NodeReport();
  const auto unscored = ReclaimOf(report, {}).status();
  EXPECT_FALSE(unscored.has_audit());
  report.plan.capacity.audit = {2880, 0, 0};
  const auto written = ReclaimOf(report, {}).status();
  EXPECT_EQ(written.audit().windows(), 2880);
  EXPECT_TRUE(written.audit().has_broken()) << "none is a figure";
  EXPECT_EQ(written.audit().widened(), "0%");
  EXPECT_EQ(Compare(unscored, written), Difference::kNone) << "not worth a write of its own";
  report.plan.capacity.audit.windows = 2881;
  EXPECT_EQ(Compare(written, ReclaimOf(report, {}).status()), Difference::kNone);
  report.plan.capacity.audit = {std::uint64_t{1} << 40, 2, 0.155};
  const auto now = ReclaimOf(report, {}).status();
  EXPECT_EQ(now.audit().windows(), std::numeric_limits<std::int32_t>::max());
  EXPECT_EQ(now.audit().broken(), 2);
  EXPECT_EQ(now.audit().widened(), "16%");
  EXPECT_EQ(Compare(written, now), Difference::kFigures);
}

TEST(NodeReclaim, SaysHowShortTheNodeIs) {
  Report report = NodeReport();
  report.plan.squeeze = Squeeze::kShrink;
  const auto object = ReclaimOf(report, {});
  EXPECT_EQ(ConditionOf(object, 3).type(), "Relaxed");
  EXPECT_EQ(ConditionOf(object, 3).status(), "False");
  EXPECT_EQ(ConditionOf(object, 3).reason(), "Shrink");
}

TEST(NodeReclaim, SaysWhyNobodyLeavesANodeThatIsShort) {
  Report report = NodeReport();
  for (const Squeeze squeeze : {Squeeze::kLimit, Squeeze::kEvict}) {
    report.plan.squeeze = squeeze;
    report.plan.nobody_goes.clear();
    EXPECT_THAT(ConditionOf(ReclaimOf(report, {}), 3).message(), testing::Not(HasSubstr(";")));
    report.plan.nobody_goes = "no VM can be asked to leave this node";
    EXPECT_THAT(ConditionOf(ReclaimOf(report, {}), 3).message(), HasSubstr("; no VM can be asked"));
  }
}

TEST(NodeReclaim, WhatIsUnknownIsAbsent) {
  Report report = NodeReport();
  report.plan.capacity.terms.reset();
  report.snapshot.vms[0].resident.reset();
  report.snapshot.host.fault = "no MemAvailable line";
  const auto object = ReclaimOf(report, {});
  EXPECT_FALSE(object.status().has_sum());
  EXPECT_EQ(object.status().buffer(), "");
  EXPECT_EQ(object.status().vms(0).resident(), "");
  EXPECT_EQ(ConditionOf(object, 0).status(), "Unknown");
  EXPECT_EQ(ConditionOf(object, 1).status(), "False");
  EXPECT_THAT(ConditionOf(object, 1).message(), HasSubstr("no MemAvailable line"));
}

TEST(NodeReclaim, ShowsTheTwentyThatMatterMost) {
  Report report = NodeReport();
  for (int i = 0; i < 30; ++i) AddVm(report, "vm-" + std::to_string(i), Bytes::GiB(3 + i));
  report.snapshot.vms[5].stalled = true;  // vm-4
  report.snapshot.vms[0].reclaimed = Bytes::MiB(64);
  const auto object = ReclaimOf(report, {});
  ASSERT_EQ(object.status().vms_size(), 20);
  EXPECT_EQ(object.status().vm_count(), 31);
  EXPECT_EQ(object.status().vms(0).name(), "vm-4");
  EXPECT_EQ(object.status().vms(1).name(), "web");
  EXPECT_EQ(object.status().vms(2).name(), "vm-29");
}

TEST(NodeReclaim, IsSmallWhateverNamesAndReasonsAre) {
  Report report = NodeReport();
  for (int i = 0; i < 30; ++i) {
    AddVm(report, std::to_string(i) + std::string(240, 'x'), Bytes::GiB(3));
    report.plan.vms.back().reason = std::string(1000, '"');
  }
  for (std::string* text : {&report.snapshot.vms_fault, &report.snapshot.node->policy_fault}) {
    *text = std::string(5000, '\\');
  }
  report.plan.capacity.reason = std::string(5000, '"');
  const auto object = ReclaimOf(report, {});
  EXPECT_LE(kube::WriteJson(object)->size(), kNodeReclaimLimit);
  EXPECT_GE(object.status().vms_size(), 3);
  EXPECT_LE(object.status().vms(0).reason().size(), 160u);
}

TEST(NodeReclaim, ConditionsKeepTheTimeOfTheirChange) {
  Report report = NodeReport();
  const auto first = ReclaimOf(report, {});
  report.snapshot.at.wall += seconds(100);
  report.plan.capacity.terms->bound = Bytes::MiB(-1);
  const auto second = ReclaimOf(report, first.status());
  EXPECT_EQ(ConditionOf(second, 0).status(), "False");
  EXPECT_NE(ConditionOf(second, 0).last_transition_time(), first.status().observed_at());
  EXPECT_EQ(ConditionOf(second, 1).last_transition_time(), first.status().observed_at());
  // What is about at its limit does not swing.
  report.plan.capacity.terms->bound = Bytes::MiB(1);
  EXPECT_EQ(ConditionOf(ReclaimOf(report, second.status()), 0).status(), "False");
  EXPECT_EQ(ConditionOf(ReclaimOf(report, first.status()), 0).status(), "True");
}

TEST(NodeReclaim, AGuestThatBreathesIsNoChange) {
  Report report = NodeReport();
  const auto written = ReclaimOf(report, {}).status();
  const auto compare = [&] { return Compare(written, ReclaimOf(report, written).status()); };
  report.snapshot.at.wall += seconds(1000);
  report.snapshot.vms[0].resident = *report.snapshot.vms[0].resident + Bytes::MiB(60);
  report.plan.vms[0].reason = "may grow by 123 MiB";
  report.plan.capacity.reason = "1024 MiB would be safe";
  report.plan.capacity.terms->available += Bytes::MiB(40);
  EXPECT_EQ(compare(), Difference::kNone);
  report.snapshot.vms[0].resident = *report.snapshot.vms[0].resident + Bytes::MiB(10);
  EXPECT_EQ(compare(), Difference::kFigures);
  report = NodeReport();
  report.plan.capacity.additional += Bytes::MiB(64);
  EXPECT_EQ(compare(), Difference::kFigures);
  report.snapshot.vms_fault = "libvirt is away";
  EXPECT_EQ(compare(), Difference::kConditions);
}

class ReclaimWriter : public testing::Test {
 protected:
  void Step(int times = 1) {
    for (int i = 0; i < times; ++i, time_.now += seconds(1)) {
      report_.snapshot.at = time_.Now();
      writer_.Step(report_, {});
    }
  }
  std::vector<std::string> Targets() const {
    std::vector<std::string> targets;
    for (const auto& request : server_->requests) {
      targets.push_back(request.target.substr(0, request.target.find('?')));
    }
    return targets;
  }

  kube::FakeTime time_;
  std::shared_ptr<kube::FakeTransport> server_ = std::make_shared<kube::FakeTransport>();
  std::uint64_t random_ = 0;
  kube::Client client_{server_, {time_, time_, [this] { return random_; }}};
  std::vector<std::string> said_;
  NodeReclaimWriter writer_{
      client_, {}, [this](const std::string& line) { said_.push_back(line); }};
  Report report_ = NodeReport();
};

constexpr const char* kObject = "/apis/ullage.io/v1alpha1/nodereclaims/n1";
constexpr const char* kStatus = "/apis/ullage.io/v1alpha1/nodereclaims/n1/status";

TEST_F(ReclaimWriter, MakesItAndWritesItOnceWhileNothingChanges) {
  server_->Say(201, R"({"status":{"conditions":[{"type":"Safe","status":"True",)"
                    R"("lastTransitionTime":"2020-01-01T00:00:00Z"}]}})");
  server_->Say(200, "{}");
  Step(300);
  EXPECT_THAT(Targets(), testing::ElementsAre(kObject, kStatus));
  EXPECT_THAT(server_->requests[0].target, HasSubstr("fieldManager=ullage-agent&force=true"));
  EXPECT_EQ(nlohmann::json::parse(server_->requests[0].body).count("status"), 0u);
  // What an agent before this one found is still so since then.
  EXPECT_THAT(server_->requests[1].body, HasSubstr("2020-01-01T00:00:00Z"));
}

TEST_F(ReclaimWriter, FiguresOnceAMinuteAndConditionsAtOnce) {
  for (int i = 0; i < 100; ++i) server_->Say(200, "{}");
  Step(10);
  for (int i = 0; i < 110; ++i) {
    report_.plan.capacity.additional += Bytes::MiB(64);
    Step();
  }
  EXPECT_THAT(server_->requests, SizeIs(2 + 1));
  Step(10);
  EXPECT_THAT(server_->requests, SizeIs(2 + 2));  // the latest, once more
  Step(10);
  report_.snapshot.vms_fault = "libvirt is away";
  Step();
  EXPECT_THAT(server_->requests, SizeIs(2 + 3));
  // Even a condition that swings is bounded.
  for (int i = 0; i < 60; ++i) {
    report_.snapshot.vms_fault = i % 2 == 0 ? "" : "libvirt is away";
    Step();
  }
  EXPECT_LE(server_->requests.size(), 2u + 3 + 12);
}

// What moves the figures of all nodes at once (a job that runs in all guests at midnight) must not
// have all of them write within the same second.
TEST_F(ReclaimWriter, FiguresThatMoveAfterARestWaitForTheirTurn) {
  for (int i = 0; i < 10; ++i) server_->Say(200, "{}");
  Step(100);
  random_ = 20000;
  report_.plan.capacity.additional += Bytes::MiB(64);
  Step(20);
  EXPECT_THAT(server_->requests, SizeIs(2));
  Step(1);
  EXPECT_THAT(server_->requests, SizeIs(3));
  // Whoever writes once a minute has its own second already.
  report_.plan.capacity.additional += Bytes::MiB(64);
  Step(59);
  EXPECT_THAT(server_->requests, SizeIs(3));
  Step(1);
  EXPECT_THAT(server_->requests, SizeIs(4));
  // What came and went is forgotten, and a condition waits for no turn.
  Step(60);
  report_.plan.capacity.additional += Bytes::MiB(64);
  Step(19);
  report_.plan.capacity.additional += Bytes::MiB(-64);
  Step(19);
  report_.plan.capacity.additional += Bytes::MiB(64);
  Step(19);
  EXPECT_THAT(server_->requests, SizeIs(4));
  report_.snapshot.vms_fault = "libvirt is away";
  Step(1);
  EXPECT_THAT(server_->requests, SizeIs(5));
}

TEST_F(ReclaimWriter, SaysNothingOfAnApiServerThatWasAway) {
  NodeSample& node = *report_.snapshot.node;
  server_->Say(200, "{}");
  server_->Say(200, "{}");
  Step(10);
  node.heard_at = time_.Now().boot;
  node.fault = "node: connection refused";
  server_->Break(Code::kUnavailable);
  Step(60);
  EXPECT_THAT(server_->requests, SizeIs(3)) << "it tried once";
  node.heard_at = time_.Now().boot;
  Step(5);
  EXPECT_THAT(server_->requests, SizeIs(3)) << "not all is followed again";
  node.fault = "";
  Step(100);
  EXPECT_THAT(server_->requests, SizeIs(3)) << "all is as it was written";
  EXPECT_THAT(said_, SizeIs(1));
}

TEST_F(ReclaimWriter, AFaultThatStaysIsSaidAllTheSame) {
  server_->Say(200, "{}");
  server_->Say(200, "{}");
  Step(10);
  report_.snapshot.node->fault = "VMIs: 403 Forbidden";
  server_->Break(Code::kUnavailable);
  server_->Say(200, "{}");
  Step(150);
  EXPECT_THAT(server_->requests, SizeIs(3));
  Step(1);
  ASSERT_THAT(server_->requests, SizeIs(4));
  EXPECT_THAT(server_->requests[3].body, HasSubstr("403 Forbidden"));
}

TEST_F(ReclaimWriter, WhatDidNotFitIsNoChange) {
  for (int i = 0; i < 30; ++i) {
    AddVm(report_, std::to_string(i) + std::string(240, 'x'), Bytes::GiB(3));
  }
  for (int i = 0; i < 10; ++i) server_->Say(200, "{}");
  Step(300);
  ASSERT_THAT(server_->requests, SizeIs(2));
  const auto shown = nlohmann::json::parse(server_->requests[1].body)["status"]["vms"].size();
  ASSERT_LT(shown, 20u);
  ASSERT_GT(shown, 3u);
  report_.snapshot.vms[20].resident = Bytes::GiB(2);  // one that matters, and did not fit
  Step(100);
  EXPECT_THAT(server_->requests, SizeIs(2));
  report_.snapshot.vms[2].resident = Bytes::GiB(2);  // one that did
  Step(100);
  EXPECT_THAT(server_->requests, SizeIs(3));
  report_.snapshot.vms[20].stalled = true;
  Step(100);
  ASSERT_THAT(server_->requests, SizeIs(4));
  const auto status = nlohmann::json::parse(server_->requests[3].body)["status"];
  EXPECT_EQ(status["vms"][0]["state"], "stalled");
}

TEST_F(ReclaimWriter, WritesWhatAndWhenTheWholeObjectDiffers) {
  ShakenReport shaken(11);
  NodeSample node = *report_.snapshot.node;
  node.vmis = {};
  for (int i = 0; i < ShakenReport::kVms; ++i) {
    VmiSample& vmi = node.vmis.Edit().emplace_back();
    vmi.spec = ShakenReport::Vm(i).spec;
    vmi.name_space = "apps";
    vmi.name = "web-" + std::to_string(i);
  }
  k8s::NodeReclaimStatus written;
  std::optional<BootTime> written_at;
  std::size_t requests = 0;
  constexpr std::size_t kSeconds = 3000;
  for (std::size_t second = 0; second < kSeconds; ++second) {
    // For minutes a condition changes now and then, for minutes nothing does but guests breathe.
    if (second % 500 < 250 && second % 3 == 0) shaken.Shake();
    report_ = shaken.report;
    report_.snapshot.node = node;
    report_.snapshot.at = time_.Now();
    const auto now = ReclaimOf(report_, written).status();
    const Difference difference = Compare(written, now);
    const milliseconds after = difference == Difference::kConditions ? seconds(5) : seconds(60);
    const bool due = !written_at || (difference != Difference::kNone &&
                                     report_.snapshot.at.boot - *written_at >= after);
    if (due) {
      requests += written_at ? 1 : 2;
      written = now;
      written_at = report_.snapshot.at.boot;
      for (int i = 0; i < 2; ++i) server_->Say(200, "{}");
    }
    Step();
    ASSERT_EQ(server_->requests.size(), requests) << "second " << second;
    if (!due) continue;
    const auto body = nlohmann::json::parse(server_->requests.back().body)["status"];
    EXPECT_EQ(body["observedAt"], written.observed_at());
    EXPECT_EQ(body["vms"].size(), static_cast<std::size_t>(written.vms_size()));
  }
  EXPECT_GT(requests, 20u);
  EXPECT_LT(requests, kSeconds / 5);
}

TEST_F(ReclaimWriter, MakesItAnewWhenSomebodyDeletedIt) {
  server_->Say(201, "{}");
  server_->Say(200, "{}");
  Step(61);
  report_.plan.capacity.additional += Bytes::MiB(64);
  server_->Say(404, "{}");
  server_->Say(201, "{}");
  server_->Say(200, "{}");
  Step(30);
  EXPECT_THAT(Targets(), testing::ElementsAre(kObject, kStatus, kStatus, kObject, kStatus));
}

TEST_F(ReclaimWriter, WithoutTheCrdItIsSaidOnce) {
  for (int i = 0; i < 300; ++i) server_->Say(404, R"({"reason":"NotFound"})");
  Step(300);
  EXPECT_THAT(said_, SizeIs(1));
  EXPECT_LE(server_->requests.size(), 40u);
}

TEST_F(ReclaimWriter, WithoutKubernetesNothingIsWritten) {
  report_.snapshot.node.reset();
  Step(3);
  EXPECT_THAT(server_->requests, SizeIs(0));
}

}  // namespace
}  // namespace ullage::publishers
