// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/decisions.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <map>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/report_fixture.h"
#include "node-agent/publishers/shaken_report.h"

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

TEST_F(Decisions, OneThingOfAVmIsARecord) {
  using Change = std::pair<const char*, void (*)(VmState&, VmDecision&)>;
  constexpr auto kFar = ullage::Bytes::GiB(2);
  for (const auto& [what, change] :
       {Change{"name", [](auto&vm, auto&) { vm.spec.name = "web-9"; }},
        Change{"guest memory", [](auto&vm, auto&) { vm.spec.guest_memory += ullage::Bytes(1); }},
        Change{"reclaimed", [](auto&vm, auto&) { vm.reclaimed += ullage::Bytes(1); }},
        Change{"promised", [](auto&vm, auto&) { vm.promised += kFar; }},
        Change{"resident", [](auto&vm, auto&) { *vm.resident += kFar; }},
        Change{"no resident", [](auto&vm, auto&) { vm.resident.reset(); }},
        Change{"swapped", [](auto&vm, auto&) { vm.swapped = ullage::Bytes(); }},
        Change{"returned", [](auto&vm, auto&) { *vm.returned += kFar; }},
        Change{"growth", [](auto&, auto&decision) { decision.growth += kFar; }},
        Change{"no decision", [](auto&, auto&decision) { decision.id.value = "another"; }},
        Change{"hinting", [](auto&vm, auto&) { vm.hinting = Hinting::kUnknown; }},
        Change{"run", [](auto&vm, auto&) { vm.run = Run::kUnknown; }},
        Change{"placement", [](auto&vm, auto&) { vm.spec.placement = Placement::kReclaimed; }},
        Change{"reclaim", [](auto&vm, auto&) { vm.spec.reclaim = Reclaim::kHybrid; }},
        Change{"state", [](auto&vm, auto&) { vm.exempt = "it has dedicated CPUs"; }},
        Change{"epoch", [](auto&vm, auto&) { ++vm.epoch; }},
        Change{"agent", [](auto&vm, auto&) { vm.agent = GuestAgent::kSilent; }}}) {
    report_ = SampleReport();
    Restart();
    Add(0);
    const std::size_t once = Bytes();
    change(report_.snapshot.vms[0], report_.plan.vms[0]);
    Add(1);
    const std::size_t twice = Bytes();
    EXPECT_GT(twice, once) << what;
    Add(2);
    EXPECT_EQ(Bytes(), twice) << what;
  }
}

// What is written, from the whole view of each report and field by field: the long way round.
class WholeViews {
 public:
  std::optional<v1::Snapshot> Add(const Report& report) {
    v1::Snapshot record = ToProto(report);
    std::map<std::string, v1::Vm> now;
    for (const v1::Vm& vm : record.vms()) now[vm.uuid()] = vm;
    record.clear_vms();
    const bool first = !head_;
    for (const auto& [uuid, vm] : now) {
      const auto known = vms_.find(uuid);
      if (known != vms_.end() && !VmDiffers(known->second, vm)) continue;
      vms_[uuid] = *record.add_vms() = vm;
    }
    for (auto known = vms_.begin(); known != vms_.end();) {
      const bool here = now.contains(known->first);
      if (!here) record.add_vms()->set_uuid(known->first);
      known = here ? std::next(known) : vms_.erase(known);
    }
    if (!first && record.vms().empty() && !HeadDiffers(*head_, record)) return std::nullopt;
    head_ = record;
    return record;
  }

 private:
  using Names = std::initializer_list<const char*>;
  template <typename Message>
  static std::optional<std::string> Word(const Message& message, const char* name) {
    const auto* field = Message::descriptor()->FindFieldByName(name);
    if (field->has_presence() && !message.GetReflection()->HasField(message, field)) return {};
    std::string text;
    google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &text);
    return text;
  }
  template <typename Message>
  static bool Same(const Message& a, const Message& b, Names names) {
    return std::all_of(names.begin(), names.end(),
                       [&](const char* name) { return Word(a, name) == Word(b, name); });
  }
  template <typename Message>
  static bool Near(const Message& a, const Message& b, Names names) {
    return std::all_of(names.begin(), names.end(), [&](const char* name) {
      const auto x = Word(a, name);
      const auto y = Word(b, name);
      if (!x || !y) return x == y;
      const Wide before = std::stoll(*x);
      const Wide moved = std::stoll(*y) - before;
      const Wide size = before < 0 ? -before : before;
      return std::max(moved, -moved) <= std::max<Wide>(Wide{64} << 20, size / 16);
    });
  }
  static bool VmDiffers(const v1::Vm& a, const v1::Vm& b) {
    return !Same(a, b,
                 {"name", "state", "hinting", "run", "placement", "reclaim", "epoch", "guest_agent",
                  "guest_memory", "reclaimed"}) ||
           !Near(a, b, {"promised", "resident", "swapped", "returned", "growth"});
  }
  static bool HeadDiffers(const v1::Snapshot& a, const v1::Snapshot& b) {
    return std::any_of(b.actions().begin(), b.actions().end(),
                       [](const auto& action) { return action.state() != "skipped"; }) ||
           a.mode() != b.mode() || a.conditions_size() != b.conditions_size() ||
           !Same(a.capacity(), b.capacity(), {"additional", "granted", "published"}) ||
           !Near(a.capacity(), b.capacity(), {"promised", "unsold"}) ||
           a.capacity().has_terms() != b.capacity().has_terms() ||
           !Near(a.capacity().terms(), b.capacity().terms(),
                 {"available", "recoverable", "growth", "buffer", "unsold", "not_ours", "cap",
                  "bound", "bound_full"});
  }

  std::optional<v1::Snapshot> head_;
  std::map<std::string, v1::Vm> vms_;
};

// Equal where the messages are, whatever the order of VMs. Not by MessageDifferencer, which reads
// maps by reflection: under TSan their layout differs between our code and Debian's library.
std::string Canonical(v1::Snapshot record) {
  std::sort(record.mutable_vms()->pointer_begin(), record.mutable_vms()->pointer_end(),
            [](const v1::Vm* a, const v1::Vm* b) { return a->uuid() < b->uuid(); });
  std::string bytes;
  google::protobuf::io::StringOutputStream out(&bytes);
  google::protobuf::io::CodedOutputStream coded(&out);
  coded.SetSerializationDeterministic(true);
  record.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

TEST_F(Decisions, AreTheSameAsOfWholeViews) {
  options_.segments.segment_bytes = options_.segments.total_bytes = std::size_t{64} << 20;
  Restart();
  WholeViews views;
  std::vector<v1::Snapshot> expected;
  ShakenReport shaken(7);
  constexpr int kReports = 3000;
  for (int second = 0; second < kReports; ++second, shaken.Shake()) {
    report_ = shaken.report;
    Add(second);
    if (auto record = views.Add(report_)) expected.push_back(*std::move(record));
  }
  EXPECT_LT(expected.size(), std::size_t{kReports} - 500);
  EXPECT_GT(expected.size(), 500u);
  std::size_t index = 0;
  ASSERT_THAT(SegmentsOf(options_.segments), SizeIs(1));
  ReadFrames(*ReadSegment(SegmentsOf(options_.segments)[0]), [&](std::string_view bytes) {
    v1::Snapshot record;
    EXPECT_TRUE(record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    EXPECT_TRUE(index < expected.size() && Canonical(expected[index]) == Canonical(record))
        << "record " << index;
    ++index;
    return !HasFailure();
  });
  EXPECT_EQ(index, expected.size());
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
