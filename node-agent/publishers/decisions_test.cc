// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/decisions.h"

#include <gmock/gmock.h>

#include <fstream>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

class Decisions : public testing::Test {
 protected:
  Decisions() { options_.segments.folder = tree_.path() + "/past"; }

  WallTime At(int second) const { return WallTime(seconds(1700000000 + second)); }
  void Add(int second) {
    report_.snapshot.at.wall = At(second);
    const Status added = log_->Add(report_);
    EXPECT_TRUE(added.ok());
  }
  std::size_t Bytes() const {
    std::size_t bytes = 0;
    for (const Segment& segment : SegmentsOf(options_.segments)) {
      bytes += ReadSegment(segment)->size();
    }
    return bytes;
  }
  void Restart() { log_ = std::make_unique<DecisionLog>(options_); }
  Result<v1::Explanation> Explained(int second, const std::string& vm = "web-1") const {
    const auto past = DecisionsAt(options_, At(second));
    if (!past) return past.error();
    return ExplainPast(*past, vm);
  }

  host::TemporaryTree tree_;
  DecisionsOptions options_;
  Report report_ = SampleReport();
  std::unique_ptr<DecisionLog> log_ = nullptr;

  void SetUp() override { Restart(); }
};

TEST_F(Decisions, NothingIsWrittenWhileNothingChanges) {
  Add(0);
  const std::size_t once = Bytes();
  EXPECT_GT(once, 0u);
  for (int second = 1; second < 100; ++second) {
    // A guest breathes.
    report_.snapshot.vms[0].resident = ullage::Bytes::MiB(512 + second % 50);
    report_.snapshot.vms_fault = "";
    Add(second);
  }
  EXPECT_EQ(Bytes(), once);
  report_.snapshot.vms[0].resident = ullage::Bytes::MiB(512 + 65);
  Add(100);
  EXPECT_GT(Bytes(), once);
}

TEST_F(Decisions, SayWhatWasSoThen) {
  Add(0);
  report_.snapshot.vms[0].resident = ullage::Bytes::GiB(2);
  report_.snapshot.vms[0].hinting = Hinting::kNotNegotiated;
  report_.snapshot.vms[0].proof.negotiated = false;
  report_.plan.capacity.additional = ullage::Bytes();
  Add(10);
  auto then = Explained(9);
  ASSERT_TRUE(then.ok()) << then.error().message();
  EXPECT_EQ(then->vm().resident(), 512u << 20);
  EXPECT_EQ(then->vm().state(), "returned");
  EXPECT_EQ(then->capacity().additional(), 448u << 20);
  EXPECT_EQ(then->observed_at_unix_ms(), 1700000000000);
  EXPECT_THAT(then->lines(), Contains(HasSubstr("It holds 512 MiB")));
  EXPECT_THAT(then->lines(), Contains(HasSubstr("written down at 2023-11-14T22:13:20Z")));
  then = Explained(10);
  ASSERT_TRUE(then.ok());
  EXPECT_EQ(then->vm().hinting(), "not-negotiated");
  EXPECT_THAT(then->lines(), Contains(HasSubstr("load a balloon driver")));
  EXPECT_EQ(then->capacity().additional(), 0u);
  EXPECT_EQ(Explained(-1).error().code(), Code::kNotFound);
  EXPECT_THAT(Explained(-1).error().message(), HasSubstr("since 2023-11-14T22:13:20Z"));
  EXPECT_EQ(Explained(5, "nobody").error().code(), Code::kNotFound);
}

TEST_F(Decisions, VmsComeAndGo) {
  Add(0);
  report_.snapshot.vms.push_back(SampleVm("web-2", "7f9b1c1e-0d3c-4d57-9d0c-0123456789ab"));
  Add(10);
  report_.snapshot.vms.erase(report_.snapshot.vms.begin());
  Add(20);
  EXPECT_FALSE(Explained(5, "web-2").ok());
  EXPECT_TRUE(Explained(15, "web-1").ok());
  EXPECT_TRUE(Explained(15, "web-2").ok());
  EXPECT_FALSE(Explained(25, "web-1").ok());
  EXPECT_TRUE(Explained(25, "web-2").ok());
}

TEST_F(Decisions, SurviveARestartAndATornEnd) {
  Add(0);
  report_.snapshot.vms[0].resident = ullage::Bytes::GiB(1);
  Add(10);
  const std::string path = SegmentsOf(options_.segments).back().path;
  const auto content = ReadSegment(SegmentsOf(options_.segments).back());
  ASSERT_TRUE(content.ok());
  std::ofstream(path, std::ios::trunc) << content->substr(0, content->size() - 1);
  Restart();
  report_.snapshot.vms[0].resident = ullage::Bytes::GiB(2);
  Add(20);
  EXPECT_EQ(Explained(15)->vm().resident(), 512u << 20);  // the torn record is lost
  EXPECT_EQ(Explained(25)->vm().resident(), 2048u << 20);
}

TEST_F(Decisions, AnswersComeFromEveryFileAndOldOnesGo) {
  options_.segments.segment_bytes = 2000;
  options_.keep = seconds(500);
  Restart();
  for (int second = 0; second < 1000; second += 10) {
    report_.snapshot.vms[0].resident = ullage::Bytes::MiB(100 + 100 * (second / 10 % 10));
    Add(second);
  }
  EXPECT_GT(SegmentsOf(options_.segments).size(), 3u);
  for (int second = 510; second < 1000; second += 10) {
    const auto then = Explained(second + 5);
    ASSERT_TRUE(then.ok()) << second << ": " << then.error().message();
    EXPECT_EQ(then->vm().resident(), std::uint64_t(100 + 100 * (second / 10 % 10)) << 20);
  }
  EXPECT_FALSE(Explained(50).ok());
}

TEST_F(Decisions, AClockThatIsSetBackLosesNothingOfNow) {
  Add(1000);
  report_.snapshot.vms[0].resident = ullage::Bytes::GiB(1);
  Add(10);
  Restart();
  report_.snapshot.vms[0].resident = ullage::Bytes::GiB(2);
  Add(20);
  EXPECT_EQ(Explained(15)->vm().resident(), 1024u << 20);
  EXPECT_EQ(Explained(2000)->vm().resident(), 2048u << 20);
}

TEST_F(Decisions, WhatWasDoneIsARecord) {
  Add(0);
  const std::size_t once = Bytes();
  report_.outcomes = {{{Action::Kind::kSwitchHintingOn, report_.snapshot.vms[0].spec.id, "r"},
                       Outcome::State::kDone,
                       ""}};
  Add(1);
  EXPECT_GT(Bytes(), once);
}

TEST(Replay, ShowsNothingOfAStrangersWordsAsItIs) {
  v1::Snapshot record = ToProto(SampleReport());
  v1::Vm& vm = *record.mutable_vms(0);
  vm.set_name("web\x1b[2J");
  vm.set_state("x\n");
  vm.set_resident(~std::uint64_t{0});
  vm.set_reason(std::string(100000, 'r'));
  const auto past = Replay(FrameOf(record.SerializeAsString()), record.observed_at_unix_ms());
  ASSERT_THAT(past.vms(), SizeIs(1));
  const auto explained = ExplainPast(past, vm.uuid());
  ASSERT_TRUE(explained.ok());
  EXPECT_EQ(explained->vm().name().find('\x1b'), std::string::npos);
  EXPECT_EQ(explained->vm().state().find('\n'), std::string::npos);
  EXPECT_LT(explained->vm().reason().size(), 2000u);
}

}  // namespace
}  // namespace ullage::publishers
