// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/together.h"

#include <gtest/gtest.h>

namespace ullage::policy {
namespace {

constexpr seconds kSlot{30};

BootTime Hour(int number) { return BootTime(std::chrono::hours(number)); }

TEST(TogetherHistory, NobodyWasSeenToDoAnything) {
  const Together seen = TogetherHistory().Seen();
  EXPECT_EQ(seen.observed, seconds(0));
  EXPECT_EQ(seen.rise, Permyriad{0});
  EXPECT_EQ(seen.high, Permyriad{0});
}

TEST(TogetherHistory, NeverForgetsWithinADayAndDoesAfterAnHourMore) {
  TogetherHistory history;
  history.Add(Hour(100) + seconds(3599), kSlot, Permyriad{2000}, Permyriad{8000});
  for (int hour = 101; hour < 125; ++hour) {
    history.Add(Hour(hour), kSlot, Permyriad{10}, Permyriad{4000});
    EXPECT_EQ(history.Seen().rise, Permyriad{2300}) << "with a margin; hour " << hour;
    EXPECT_EQ(history.Seen().high, Permyriad{8000});
  }
  history.Add(Hour(125), kSlot, Permyriad{10}, Permyriad{4000});
  EXPECT_EQ(history.Seen().rise, Permyriad{11});
  EXPECT_EQ(history.Seen().high, Permyriad{4000});
  EXPECT_EQ(history.Seen().observed, kSlot * 26);
}

TEST(TogetherHistory, WhereNobodyRanNothingIsForgotten) {
  TogetherHistory history;
  history.Add(Hour(100), kSlot, Permyriad{2000}, Permyriad{8000});
  history.Add(Hour(151), kSlot, Permyriad{10}, Permyriad{4000});
  EXPECT_EQ(history.Seen().high, Permyriad{8000});
}

}  // namespace
}  // namespace ullage::policy
