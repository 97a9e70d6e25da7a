// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/history.h"

#include <gmock/gmock.h>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::SizeIs;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

v1::HistoryMinute Minute(int at, std::uint64_t additional, std::int64_t margin,
                         std::uint64_t granted = 0) {
  v1::HistoryMinute minute;
  minute.set_at_unix_s(60 * at);
  minute.set_additional(additional);
  minute.set_margin(margin);
  minute.set_granted(granted);
  minute.set_vm_size(2 * kGiB);
  minute.set_vms(3);
  minute.set_mode("observe");
  return minute;
}

TEST(MinuteBook, GathersTheTicksOfAMinute) {
  MinuteBook book;
  Report report = SampleReport();
  report.plan.capacity.terms->available = Bytes::GiB(5);
  report.plan.capacity.terms->unsold = Bytes::GiB(1);
  const auto at = [&](int second) {
    report.snapshot.at.wall = WallTime(seconds(1700000040 + second));  // a whole minute
    return book.Add(report);
  };
  EXPECT_FALSE(at(0));
  report.plan.capacity.terms->available = Bytes::GiB(3);
  report.plan.capacity.additional = Bytes::GiB(2);
  EXPECT_FALSE(at(30));
  report.plan.capacity.terms->available = Bytes::GiB(4);
  report.plan.capacity.additional = Bytes::GiB(1);
  EXPECT_FALSE(at(59));
  const auto minute = at(60);
  ASSERT_TRUE(minute);
  EXPECT_EQ(minute->at_unix_s(), 1700000040);
  EXPECT_EQ(minute->additional(), kGiB);                             // the last
  EXPECT_EQ(minute->margin(), static_cast<std::int64_t>(2 * kGiB));  // the least
  EXPECT_EQ(minute->vms(), 1u);
  EXPECT_EQ(minute->vm_size(), static_cast<std::uint64_t>(SampleVm().promised.count()));
}

TEST(MinuteBook, WhatIsUnknownIsAbsent) {
  MinuteBook book;
  Report report = SampleReport();
  book.Add(report);
  report.plan.capacity.terms.reset();
  report.snapshot.at.wall += seconds(60);
  EXPECT_TRUE(book.Add(report)->has_additional());
  report.snapshot.at.wall += seconds(60);
  const auto minute = book.Add(report);
  ASSERT_TRUE(minute);
  EXPECT_FALSE(minute->has_additional());
  EXPECT_FALSE(minute->has_margin());
}

TEST(Audit, OfNothingIsNothing) {
  const auto history = Audit({}, seconds(600));
  EXPECT_EQ(history.minutes(), 0u);
  EXPECT_THAT(history.points(), SizeIs(0));
}

TEST(Audit, CountsTheVmsThatWouldHaveFitted) {
  std::vector<v1::HistoryMinute> minutes;
  for (int i = 0; i < 100; ++i) {
    minutes.push_back(Minute(i, i < 60 ? 5 * kGiB : kGiB, static_cast<std::int64_t>(20 * kGiB)));
  }
  minutes[10].clear_additional();
  const auto history = Audit(minutes, seconds(600));
  EXPECT_EQ(history.minutes(), 100u);
  EXPECT_EQ(history.known_minutes(), 99u);
  EXPECT_EQ(history.vm_size(), 2 * kGiB);
  EXPECT_EQ(history.more_vms_median(), 2u);
  EXPECT_EQ(history.more_vms_least(), 0u);
  EXPECT_EQ(history.more_vms_most(), 2u);
  EXPECT_EQ(history.broken(), 0u);
  // One was unknown, and of the last ones the horizon is not over, but for a minute.
  EXPECT_EQ(history.promises(), 90u);
  EXPECT_THAT(history.points(), SizeIs(50));
  EXPECT_EQ(history.mode(), "observe");
}

TEST(Audit, FindsThePromisesThatWouldHaveBroken) {
  std::vector<v1::HistoryMinute> minutes;
  for (int i = 0; i < 60; ++i) {
    minutes.push_back(Minute(i, 4 * kGiB, static_cast<std::int64_t>(8 * kGiB)));
  }
  // The VMs took it back for a minute: whoever was promised it in the ten before had none.
  minutes[30].set_margin(static_cast<std::int64_t>(kGiB));
  minutes[30].set_additional(0);
  auto history = Audit(minutes, seconds(600));
  EXPECT_EQ(history.broken(), 10u);
  EXPECT_EQ(history.worst_shortfall(), 3 * kGiB);
  EXPECT_EQ(history.worst_at_unix_s(), 60 * 20);
  EXPECT_EQ(Audit(minutes, seconds(60)).broken(), 1u);
  // What was granted meanwhile came out of the promise.
  for (std::size_t i = 25; i < 60; ++i) minutes[i].set_granted(3 * kGiB);
  EXPECT_EQ(Audit(minutes, seconds(600)).broken(), 5u);
}

TEST(Audit, AGapInTheRecordsProvesNothing) {
  const std::vector<v1::HistoryMinute> minutes{Minute(0, kGiB, static_cast<std::int64_t>(2 * kGiB)),
                                               Minute(1, kGiB, static_cast<std::int64_t>(2 * kGiB)),
                                               Minute(1000, kGiB, -5)};
  const auto history = Audit(minutes, seconds(600));
  EXPECT_EQ(history.broken(), 0u);
  EXPECT_EQ(history.promises(), 0u);
}

TEST(Audit, TakesAnyFigures) {
  std::vector<v1::HistoryMinute> minutes;
  for (int i = 0; i < 20; ++i) {
    minutes.push_back(Minute(i, ~std::uint64_t{0}, std::numeric_limits<std::int64_t>::min()));
    minutes.back().set_vm_size(1);
  }
  const auto history = Audit(minutes, seconds(600));
  EXPECT_EQ(history.broken(), 19u);
  EXPECT_GT(history.more_vms_most(), 0u);
}

TEST(Minutes, AreReadInOrderWhateverTheClockDid) {
  const host::TemporaryTree tree;
  const SegmentOptions options = HistorySegments(tree.path());
  SegmentWriter writer(options);
  for (const int at : {5, 6, 7, 2, 3, 6}) {
    ASSERT_TRUE(writer.Append(Minute(at, at == 6 ? writer.AtStart() : 1, 0).SerializeAsString()));
  }
  ASSERT_TRUE(writer.Append("no minute \xff"));
  std::vector<std::int64_t> found;
  for (const auto& minute : ReadMinutes(options)) found.push_back(minute.at_unix_s() / 60);
  EXPECT_THAT(found, testing::ElementsAre(2, 3, 5, 6, 7));
}

}  // namespace
}  // namespace ullage::publishers
