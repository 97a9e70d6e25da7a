// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/proto_view.h"

#include <gmock/gmock.h>

#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(ProtoView, ShowsWhatTheTickSaw) {
  const v1::Snapshot shown = ToProto(SampleReport(7));
  EXPECT_EQ(shown.tick(), 7u);
  EXPECT_EQ(shown.observed_at_unix_ms(), 1700000000000);
  EXPECT_EQ(shown.host().total(), std::uint64_t{8} << 30);
  EXPECT_EQ(shown.capacity().published(), std::uint64_t{512} << 20);
  EXPECT_EQ(shown.capacity().terms().bound(), -(std::int64_t{10} << 20));
  ASSERT_EQ(shown.vms_size(), 1);
  EXPECT_EQ(shown.vms(0).returned(), std::uint64_t{1536} << 20);
  EXPECT_EQ(shown.vms(0).growth(), std::uint64_t{218} << 20);
  EXPECT_EQ(shown.vms(0).state(), "returned");
  EXPECT_EQ(shown.vms(0).answered_ms_ago(), 1000u);
  EXPECT_TRUE(shown.conditions().empty());
}

TEST(ProtoView, AbsentStaysAbsent) {
  Report report;
  report.snapshot.vms.emplace_back();
  const v1::Snapshot shown = ToProto(report);
  EXPECT_FALSE(shown.host().has_total());
  EXPECT_FALSE(shown.host().has_available());
  EXPECT_FALSE(shown.host().has_pressure_some_avg10());
  EXPECT_FALSE(shown.capacity().has_terms());
  const v1::Vm& vm = shown.vms(0);
  EXPECT_FALSE(vm.has_resident() || vm.has_swapped() || vm.has_peak() || vm.has_returned());
  EXPECT_FALSE(vm.has_growth() || vm.has_hinting_offered() || vm.has_guest_unused());
  EXPECT_FALSE(vm.has_answered_ms_ago());
  EXPECT_EQ(vm.state(), "unknown");
}

TEST(ProtoView, EveryStringIsUtf8WhateverCameIn) {
  Report report = SampleReport();
  const std::string hostile = "a\xff\x1b[31m\n\xc3";
  VmState& vm = report.snapshot.vms[0];
  vm.spec.name = vm.fault = vm.spec.bad_setting = hostile;
  report.snapshot.host.fault = report.snapshot.vms_fault = hostile;
  report.plan.vms[0].reason = report.plan.capacity.reason = report.mode = hostile;
  report.outcomes.push_back(
      {{Action::Kind::kSwitchHintingOn, vm.spec.id, hostile}, Outcome::State::kFailed, hostile});
  const v1::Snapshot shown = ToProto(report);
  v1::Snapshot back;
  ASSERT_TRUE(back.ParseFromString(shown.SerializeAsString()));
  EXPECT_EQ(back.vms(0).name(), "a\\xff\\x1b[31m\\x0a\\xc3");
  for (const std::string& line : back.conditions()) EXPECT_THAT(line, Not(HasSubstr("\x1b")));
}

TEST(ProtoView, SortsByNameThenUuid) {
  Report report;
  report.snapshot.vms = {SampleVm("b", "1"), SampleVm("a", "3"), SampleVm("a", "2")};
  const v1::Snapshot shown = ToProto(report);
  EXPECT_EQ(shown.vms(0).uuid(), "2");
  EXPECT_EQ(shown.vms(1).uuid(), "3");
  EXPECT_EQ(shown.vms(2).name(), "b");
}

TEST(ProtoView, SaysInPlainWordsWhatIsWrong) {
  Report report = SampleReport();
  report.snapshot.vms_listed_at = BootTime(seconds(58));
  report.snapshot.vms_fault = "libvirt does not answer";
  report.snapshot.host.available.reset();
  report.snapshot.vms[0].resident.reset();
  report.snapshot.vms[0].fault = "no such cgroup";
  const v1::Snapshot shown = ToProto(report);
  EXPECT_THAT(shown.conditions(),
              ElementsAre("the host's memory is unknown, so nothing more is promised",
                          "the list of VMs is 42 s old: libvirt does not answer",
                          "VM web-1: nobody knows what it holds, it counts in full: no such "
                          "cgroup"));
}

TEST(ProtoView, BoundsTheConditions) {
  Report report = SampleReport();
  report.snapshot.vms.assign(500, SampleVm());
  for (VmState& vm : report.snapshot.vms) vm.resident.reset();
  const v1::Snapshot shown = ToProto(report);
  EXPECT_EQ(shown.conditions_size(), 65);
  EXPECT_EQ(*shown.conditions().rbegin(), "and 436 more");
}

TEST(ProtoView, AnActionThatNobodyAppliedIsSkipped) {
  Report report = SampleReport();
  report.plan.actions.push_back({Action::Kind::kSwitchHintingOn, {"x"}, "why"});
  const v1::Snapshot shown = ToProto(report);
  ASSERT_EQ(shown.actions_size(), 1);
  EXPECT_EQ(shown.actions(0).state(), "skipped");
}

TEST(StateWord, WhatAPersonHasToLookAtComesFirst) {
  VmState vm = SampleVm();
  EXPECT_EQ(StateWord(vm), "returned");
  vm.returned = Bytes::MiB(10);
  EXPECT_EQ(StateWord(vm), "idle");
  vm.resident = Bytes::GiB(2);
  EXPECT_EQ(StateWord(vm), "active");
  vm.hybrid.balloon_wish = Bytes::MiB(600);
  EXPECT_EQ(StateWord(vm), "active") << "it is not hybrid";
  vm.spec.reclaim = Reclaim::kHybrid;
  EXPECT_EQ(StateWord(vm), "squeezed");
  vm.hybrid.needy = true;
  EXPECT_EQ(StateWord(vm), "needy");
  vm.hybrid = {};
  vm.hinting = Hinting::kUnknown;
  EXPECT_EQ(StateWord(vm), "unproven");
  vm.hinting = Hinting::kNotNegotiated;
  EXPECT_EQ(StateWord(vm), "not-negotiated");
  vm.exempt = "its memory is locked";
  EXPECT_EQ(StateWord(vm), "exempt");
  vm.spec.reclaim = Reclaim::kOff;
  EXPECT_EQ(StateWord(vm), "opted-out");
  vm.resident.reset();
  EXPECT_EQ(StateWord(vm), "unknown");
  vm.run = Run::kPaused;
  EXPECT_EQ(StateWord(vm), "paused");
  vm.stalled = true;
  EXPECT_EQ(StateWord(vm), "stalled");
  vm.bound_only = true;
  EXPECT_EQ(StateWord(vm), "starting");
}

TEST(Explain, AnswersInTheOrderOfAPersonsQuestions) {
  const auto found = Explain(SampleReport(), "web-1");
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->lines(),
              ElementsAre(HasSubstr("promised 2.1 GiB: 2.0 GiB for the guest and 136 MiB"),
                          HasSubstr("holds 512 MiB"), HasSubstr("1.5 GiB came back"),
                          HasSubstr("on: QEMU offers it, and the guest accepted it"),
                          HasSubstr("driver says (shown, not believed): it reports free pages, "
                                    "1.7 GiB so far, settle_ms=50."),
                          HasSubstr("counts with 218 MiB"), HasSubstr("nothing")));
}

TEST(Explain, TellsWhatIsTakenAndWhy) {
  Report report = SampleReport();
  VmState& vm = report.snapshot.vms[0];
  vm.spec.reclaim = Reclaim::kHybrid;
  vm.autodeflate = true;
  vm.hybrid.balloon_wish = Bytes::MiB(600);
  vm.leased = LeasedLimit{Bytes::MiB(700), {}, true};
  report.plan.vms[0].hybrid = "it is idle";
  const auto found = Explain(report, "web-1");
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->lines(), testing::Contains("Its owner allows hybrid reclaim: it is idle. Its "
                                                "balloon is to leave it 600 MiB. Its limit is 700 "
                                                "MiB, and another program has changed it: left to "
                                                "that one."));
}

TEST(Explain, TellsHowFarABalloonGoesThatTheGuestCannotEmpty) {
  Report report = SampleReport();
  VmState& vm = report.snapshot.vms[0];
  vm.spec.reclaim = Reclaim::kHybrid;
  const auto fifth = Contains(HasSubstr("so a fifth of its memory is left usable"));
  EXPECT_THAT(Explain(report, "web-1")->lines(), Contains(HasSubstr("Whether its guest takes")));
  EXPECT_THAT(Explain(report, "web-1")->lines(), fifth);
  vm.autodeflate = false;
  EXPECT_THAT(Explain(report, "web-1")->lines(), Contains(HasSubstr("nothing back from its")));
  EXPECT_THAT(Explain(report, "web-1")->lines(), fifth);
  vm.autodeflate = true;
  EXPECT_THAT(Explain(report, "web-1")->lines(), Not(fifth));
  vm.autodeflate = false;
  vm.proof.balloon = false;
  EXPECT_THAT(Explain(report, "web-1")->lines(), Not(fifth));
}

TEST(Explain, TellsWhyItIsNotAskedToLeave) {
  Report report = SampleReport();
  report.snapshot.vms[0].stays = "DisksNotLiveMigratable: its disk is not shared";
  EXPECT_THAT(Explain(report, "web-1")->lines(),
              testing::Contains("It is not asked to migrate, because KubeVirt says that it cannot: "
                                "DisksNotLiveMigratable: its disk is not shared."));
  report.snapshot.vms[0].keeps_pod = true;
  EXPECT_THAT(Explain(report, "web-1")->lines(),
              testing::Contains(HasSubstr("nor is it evicted (evictionStrategy LiveMigrate)")));
}

TEST(Conditions, NameWhyNobodyLeaves) {
  Report report = SampleReport();
  report.plan.nobody_goes = "no VM can be asked to leave this node";
  EXPECT_THAT(ConditionsOf(report), testing::Contains("no VM can be asked to leave this node"));
}

TEST(Explain, TellsWhatTheGuestsDriverSaysAndWhatIsAmiss) {
  Report report = SampleReport();
  VmState& vm = report.snapshot.vms[0];
  vm.module->reporting = false;
  EXPECT_THAT(Explain(report, "web-1")->lines(),
              Contains(HasSubstr("agreed on and idle: look at its parameter reporting")));
  vm.module->reporting.reset();
  vm.module->report_errors = 3;
  EXPECT_THAT(Explain(report, "web-1")->lines(),
              Contains(AllOf(HasSubstr("does not say whether"), HasSubstr("3 reports failed"))));
  vm.module.reset();
  vm.agent = GuestAgent::kSilent;
  vm.agent_fault = "why";
  const auto lines = Explain(report, "web-1")->lines();
  EXPECT_THAT(lines, Contains(HasSubstr("agent does not answer")));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("driver says"))));
}

TEST(ToProto, ShowsTheGuestsDriverAndNothingThatIsUnknown) {
  Report report = SampleReport();
  const v1::Snapshot known = ToProto(report);
  EXPECT_EQ(known.vms(0).guest_agent(), "reads");
  const v1::GuestModule& module = known.vms(0).guest_module();
  EXPECT_TRUE(module.reporting());
  EXPECT_TRUE(module.has_report_errors()) << "a zero is known";
  EXPECT_EQ(module.other().at("passes"), 12u);
  EXPECT_EQ(module.parameters().at("settle_ms"), "50");
  EXPECT_EQ(module.read_ms_ago(), 5000u);
  report.snapshot.vms[0].module->reported.reset();
  EXPECT_FALSE(ToProto(report).vms(0).guest_module().has_reported());
  report.snapshot.vms[0].module.reset();
  EXPECT_FALSE(ToProto(report).vms(0).has_guest_module());
}

TEST(Explain, ShowsBothHalvesOfTheProof) {
  Report report = SampleReport();
  VmState& vm = report.snapshot.vms[0];
  vm.proof = {true, true, false, true};
  vm.hinting = Judge(vm.proof);
  const auto found = Explain(report, vm.spec.id.value);
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->lines(), Contains(HasSubstr("QEMU offers it, and the guest did not")));
  EXPECT_THAT(found->lines(), Contains(HasSubstr("load a balloon driver")));
}

TEST(Explain, AdvisesTheModeThatSwitchesHintingOn) {
  Report report = SampleReport();
  report.snapshot.vms[0].hinting = Hinting::kNotOffered;
  report.snapshot.vms[0].proof = {};
  const auto found = Explain(report, "web-1");
  ASSERT_TRUE(found.ok());
  const std::string last = found->lines(found->lines_size() - 1);
  EXPECT_THAT(last, HasSubstr("run the agent in mode publish"));
  EXPECT_THAT(last, Not(HasSubstr("reclaim")));
}

TEST(Explain, FindsByUuidInAnyCaseAndRefusesAnAmbiguousName) {
  Report report = SampleReport();
  EXPECT_TRUE(Explain(report, "6F9B1C1E-0D3C-4D57-9D0C-0123456789AB").ok());
  report.snapshot.vms.push_back(SampleVm("web-1", "other"));
  const auto several = Explain(report, "web-1");
  ASSERT_FALSE(several.ok());
  EXPECT_EQ(several.error().code(), Code::kInvalid);
  const auto nobody = Explain(report, "\xff");
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code(), Code::kNotFound);
  EXPECT_THAT(nobody.error().message(), HasSubstr("\\xff"));
}

}  // namespace
}  // namespace ullage::publishers
