// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/moment.h"

#include <gtest/gtest.h>

namespace ullage::clients {
namespace {

constexpr WallTime kNow{seconds(1763712000)};

std::int64_t Seconds(const Result<WallTime>& moment) {
  if (!moment) return -1;
  return std::chrono::duration_cast<seconds>(moment->time_since_epoch()).count();
}

TEST(Moment, ReadsRfc3339) {
  EXPECT_EQ(Seconds(ParseMoment("1970-01-01T00:00:00Z", kNow)), 0);
  EXPECT_EQ(Seconds(ParseMoment("2026-11-21T08:30:00Z", kNow)), 1795249800);
  EXPECT_EQ(Seconds(ParseMoment("2026-11-21T09:30:00+01:00", kNow)), 1795249800);
  EXPECT_EQ(Seconds(ParseMoment("2026-11-21 03:00:00.123456789-05:30", kNow)), 1795249800);
}

TEST(Moment, ReadsASpanBeforeNow) {
  EXPECT_EQ(Seconds(ParseMoment("-10m", kNow)), 1763712000 - 600);
  EXPECT_EQ(Seconds(ParseMoment("-1d", kNow)), 1763712000 - 86400);
}

TEST(Moment, RefusesEverythingElse) {
  for (const char* bad : {"",
                          "-",
                          "-m",
                          "-10",
                          "-25h",
                          "-1w",
                          "--10m",
                          "10m",
                          "yesterday",
                          "2026-11-21",
                          "2026-11-21T08:30:00",
                          "2026-13-21T08:30:00Z",
                          "2026-02-30T08:30:00Z",
                          "2026-11-21T24:30:00Z",
                          "2026-11-21T08:60:00Z",
                          "2026-11-21T08:30:00Zx",
                          "2026-11-21T08:30:00.Z",
                          "2026-11-21T08:30:00+24:00",
                          "1969-12-31T23:59:59Z",
                          "-99999999999999999999d"}) {
    const auto moment = ParseMoment(bad, kNow);
    ASSERT_FALSE(moment) << bad;
    EXPECT_EQ(moment.error().code(), Code::kInvalid);
  }
}

TEST(Moment, ReadsSpans) {
  EXPECT_EQ(*ParseSpan("90s"), seconds(90));
  EXPECT_EQ(*ParseSpan("2h"), seconds(7200));
  EXPECT_FALSE(ParseSpan("2d"));
}

}  // namespace
}  // namespace ullage::clients
