// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/gate.h"

#include <gtest/gtest.h>

#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/model/fold.h"

namespace ullage::agent {
namespace {

class FakeClock final : public host::Clock {
 public:
  Moment Now() const override { return now; }
  Moment now{BootTime(seconds(1000)), WallTime(seconds(1800000000))};
};

VmSpec Spec(const char* id, std::int64_t mib = 896, Placement placement = Placement::kReclaimed) {
  VmSpec spec;
  spec.id.value = id;
  spec.name = id;
  spec.guest_memory = Bytes::MiB(mib);
  spec.placement = placement;
  return spec;
}

class GateTest : public testing::Test {
 protected:
  GateTest() {
    params_.overhead = {Bytes::MiB(128), Bytes()};
    params_.reserve = Bytes();
    ledger_ = std::move(*admission::Ledger::Open(tree_.path("ledger.json"), "boot"));
    options_.enforce = true;
    options_.patience = milliseconds(10);
    options_.say = [this](const std::string& line) { said_.push_back(line); };
  }
  Gate& gate() {
    if (!gate_) gate_ = std::make_unique<Gate>(*ledger_, params_, clock_, options_);
    return *gate_;
  }
  // One tick on a host with this much room, listing the VMs given.
  std::vector<std::string> Tick(std::int64_t unsold, std::int64_t additional,
                                std::vector<VmSpec> running = {}) {
    clock_.now.boot += seconds(1);
    Samples samples;
    samples.at = clock_.now;
    samples.host.total = Bytes::GiB(64);
    samples.host.available = Bytes::GiB(64);
    samples.grants = SharedList(gate().Grants());
    samples.grants_complete = gate().Complete();
    samples.vms_listed_at = clock_.now.boot;
    for (const VmSpec& spec : running) {
      samples.vms.emplace_back();
      samples.vms.back().qemu.spec = spec;
    }
    if (listed_at_) samples.vms_listed_at = listed_at_;
    const Snapshot snapshot = Fold({}, samples, params_.overhead);
    Plan plan;
    plan.capacity.ordinary = *samples.host.total - params_.reserve - Bytes::MiB(unsold);
    plan.capacity.additional = Bytes::MiB(additional);
    return gate().Update(snapshot, plan);
  }

  host::TemporaryTree tree_;
  FakeClock clock_;
  PolicyParams params_;
  Gate::Options options_;
  std::vector<std::string> said_;
  std::optional<BootTime> listed_at_;  // an older list than the tick's own moment
  std::unique_ptr<admission::Ledger> ledger_;
  std::unique_ptr<Gate> gate_;
};

TEST_F(GateTest, TwoReservationsBetweenTicksDoNotTakeTheSameRoom) {
  Tick(0, 1024);
  EXPECT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  const Verdict second = gate().Reserve(Spec("b"), false);
  EXPECT_FALSE(second.admitted);
  EXPECT_NE(second.reason.find("0 MiB is free"), std::string::npos) << second.reason;
  Tick(0, 1024);
  EXPECT_TRUE(gate().Reserve(Spec("b"), false).admitted) << "the tick's room is net of a";
}

TEST_F(GateTest, AReservationDuringATickIsNotForgotten) {
  Tick(0, 1024);
  const auto before = gate().Grants();  // a tick samples here …
  EXPECT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  Snapshot snapshot;
  snapshot.vms_listed_at = clock_.now.boot;
  snapshot.host.total = snapshot.host.available = Bytes::GiB(1);
  Plan plan;
  plan.capacity.ordinary = Bytes::GiB(1);
  plan.capacity.additional = Bytes::MiB(1024);
  gate().Update(snapshot, plan);  // … and ends here, not knowing of a
  EXPECT_FALSE(gate().Reserve(Spec("b"), false).admitted);
}

TEST_F(GateTest, AskingAgainAnswersTheSame) {
  Tick(0, 1024);
  const Verdict first = gate().Reserve(Spec("a"), false);
  const Verdict again = gate().Reserve(Spec("a"), false);
  EXPECT_TRUE(again.admitted);
  EXPECT_EQ(again.reclaimed, first.reclaimed);
  EXPECT_EQ(ledger_->Grants().size(), 1u);
}

TEST_F(GateTest, SurvivesARestart) {
  Tick(0, 1024);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  gate_.reset();
  ledger_.reset();
  ledger_ = std::move(*admission::Ledger::Open(tree_.path("ledger.json"), "boot"));
  ASSERT_EQ(gate().Grants().size(), 1u);
  EXPECT_EQ(gate().Grants()[0].reclaimed, Bytes::MiB(1024));
}

TEST_F(GateTest, RefusesWhileTheRoomIsUnknown) {
  const Verdict verdict = gate().Reserve(Spec("a"), false);
  EXPECT_FALSE(verdict.admitted);
  EXPECT_NE(verdict.reason.find("does not know yet"), std::string::npos);
}

TEST_F(GateTest, WaitsForTheFirstTick) {
  options_.patience = milliseconds(5000);
  gate();
  Verdict verdict;
  std::thread asking([&] { verdict = gate().Reserve(Spec("a"), false); });
  std::this_thread::sleep_for(milliseconds(20));
  Tick(2048, 0);
  asking.join();
  EXPECT_TRUE(verdict.admitted) << verdict.reason;
}

TEST_F(GateTest, ObservingRefusesNobody) {
  options_.enforce = false;
  Tick(0, 0);
  const Verdict verdict = gate().Reserve(Spec("a"), false);
  EXPECT_TRUE(verdict.admitted);
  EXPECT_NE(verdict.reason.find("would say: no room"), std::string::npos) << verdict.reason;
  ASSERT_EQ(said_.size(), 1u) << "the log tells what would have been refused";
  EXPECT_NE(said_[0].find("a is admitted: this agent only observes"), std::string::npos);
}

TEST_F(GateTest, WhatRunsAlreadyIsNeverRefused) {
  Tick(0, 0);
  EXPECT_TRUE(gate().Reserve(Spec("a"), true).admitted);
  EXPECT_EQ(gate().Grants()[0].ordinary, Bytes::MiB(1024));
}

TEST_F(GateTest, AdoptsWhoNeverAsked) {
  EXPECT_FALSE(gate().Complete());
  const auto said = Tick(0, 0, {Spec("a")});
  ASSERT_EQ(said.size(), 1u);
  EXPECT_TRUE(gate().Complete());
  EXPECT_EQ(gate().Grants()[0].ordinary, Bytes::MiB(1024));
  EXPECT_TRUE(Tick(0, 0, {Spec("a")}).empty()) << "said once";
}

TEST_F(GateTest, DoesNotAdoptWhoseSizeIsUnknown) {
  VmSpec unknown = Spec("a");
  unknown.guest_memory = Bytes::Max();
  Tick(0, 0, {unknown});
  EXPECT_TRUE(gate().Grants().empty());
  EXPECT_FALSE(gate().Complete());
  Tick(0, 0, {Spec("a")});
  EXPECT_EQ(gate().Grants()[0].ordinary, Bytes::MiB(1024));
  EXPECT_TRUE(gate().Complete());
}

TEST_F(GateTest, DropsAGrantWhoseVmNeverCame) {
  Tick(4096, 0);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(Tick(0, 0).empty()) << i;
  EXPECT_EQ(Tick(0, 0).size(), 1u);
  EXPECT_TRUE(gate().Grants().empty());
}

TEST_F(GateTest, KeepsAGrantWhoseVmRuns) {
  Tick(4096, 0);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  for (int i = 0; i < 120; ++i) Tick(0, 0, {Spec("a")});
  EXPECT_EQ(gate().Grants().size(), 1u);
}

TEST_F(GateTest, AStoppedVmIsNotAdoptedFromAnOldList) {
  Tick(4096, 0);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  Tick(4096, 0, {Spec("a")});
  listed_at_ = clock_.now.boot;
  clock_.now.boot += milliseconds(10);
  EXPECT_TRUE(gate().Release({"a"}));
  EXPECT_TRUE(Tick(4096, 0, {Spec("a")}).empty());
  EXPECT_TRUE(gate().Grants().empty()) << "the list was made before it stopped";
  listed_at_.reset();
  EXPECT_EQ(Tick(4096, 0, {Spec("a")}).size(), 1u) << "a newer one means that it runs";
}

TEST_F(GateTest, AVmThatStopsAndStartsGetsItsOwnPlaceBack) {
  Tick(0, 1024);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  Tick(0, 0, {Spec("a")});
  EXPECT_TRUE(gate().Release({"a"}));
  EXPECT_FALSE(gate().Reserve(Spec("b"), false).admitted) << "nobody else does";
  const Verdict again = gate().Reserve(Spec("a"), false);
  EXPECT_TRUE(again.admitted) << again.reason;
  EXPECT_EQ(again.reclaimed, Bytes::MiB(1024));
  EXPECT_TRUE(gate().Release({"a"}));
  EXPECT_FALSE(gate().Reserve(Spec("a"), false).admitted) << "once, until the next tick";
}

TEST_F(GateTest, AVmThatGrewWhileItRanKeepsItsReclaimedPart) {
  Tick(0, 1024);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  const Verdict grown = gate().Reserve(Spec("a", 1920), true);
  EXPECT_TRUE(grown.admitted);
  EXPECT_EQ(grown.reclaimed, Bytes::MiB(1024));
  EXPECT_EQ(grown.ordinary, Bytes::MiB(1024));
}

TEST_F(GateTest, ObservingRefusesNobodyOnAFullDisk) {
  options_.enforce = false;
  Tick(4096, 0);
  std::filesystem::remove_all(tree_.path());
  EXPECT_TRUE(gate().Reserve(Spec("a"), false).admitted);
}

TEST_F(GateTest, ATroubleThatLastsIsSaidOnce) {
  Tick(4096, 0);
  std::filesystem::remove_all(tree_.path());
  EXPECT_EQ(Tick(0, 0, {Spec("a")}).size(), 1u);
  EXPECT_TRUE(Tick(0, 0, {Spec("a")}).empty());
}

TEST_F(GateTest, ReleaseIsIdempotent) {
  Tick(4096, 0);
  ASSERT_TRUE(gate().Reserve(Spec("a"), false).admitted);
  EXPECT_TRUE(gate().Release({"a"}));
  EXPECT_FALSE(gate().Release({"a"}));
}

TEST_F(GateTest, RefusesWhenItCannotBeWrittenDown) {
  Tick(4096, 0);
  std::filesystem::remove_all(tree_.path());
  EXPECT_FALSE(gate().Reserve(Spec("a"), false).admitted);
}

}  // namespace
}  // namespace ullage::agent
