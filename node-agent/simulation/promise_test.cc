// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/promise.h"

#include <gtest/gtest.h>

namespace ullage::simulation {
namespace {

constexpr Bytes kTotal = Bytes::GiB(10);
constexpr Means kNone{};

Bytes Gib(std::int64_t n) { return Bytes::GiB(n); }
Burden Held(std::int64_t gib, std::int64_t cold = 0, std::int64_t out = 0) {
  return {Gib(gib), Gib(cold), Gib(out)};
}

// One promise of `room`, then eleven minutes; `held[i]` is what is held at the end of minute i.
class Story {
 public:
  PromiseBook book;
  void Promise(std::int64_t room, const Burden& now) { book.Promise(Gib(room), now, true); }
  void Minute(const Burden& now, const PromiseBook::Newcomers& since = {},
              const Means& means = kNone) {
    book.Look(now, since, means, kTotal, 60);
  }
  // So many minutes in which nothing is promised that could break.
  void Pass(int minutes, const Burden& now, const Means& means = kNone) {
    for (int i = 0; i < minutes; ++i) {
      book.Promise(Bytes(), now, true);
      book.Look(now, {}, means, kTotal, 60);
    }
  }
};

TEST(PromiseBook, IsKeptWhileRoomAndGrowthFit) {
  Story story;
  story.Promise(4, Held(4));
  story.Minute(Held(6));
  story.Pass(9, Held(6));
  EXPECT_EQ(story.book.windows(), 0u) << "its horizon has not passed";
  story.Pass(1, Held(6));
  EXPECT_EQ(story.book.windows(), 1u);
  EXPECT_EQ(story.book.broken(), 0u);
}

TEST(PromiseBook, IsBrokenByOneMomentOfGrowth) {
  Story story;
  story.Promise(4, Held(4));
  story.Minute({Gib(6) + Bytes(1), {}, {}});
  story.Pass(10, Held(4));
  EXPECT_EQ(story.book.windows(), 1u);
  EXPECT_EQ(story.book.broken(), 1u);
}

TEST(PromiseBook, GrowthAfterTheHorizonBreaksOnlyLaterOnes) {
  Story story;
  story.Promise(4, Held(4));
  story.Minute(Held(4));
  story.Pass(9, Held(4));
  story.Pass(10, Held(9));
  EXPECT_EQ(story.book.broken(), 0u);
}

TEST(PromiseBook, WhoCameAfterItStandsInItsRoom) {
  Story story;
  story.Promise(4, Held(4));
  PromiseBook::Newcomers since{};
  since.fill(Gib(3));
  story.Minute(Held(8), since);
  story.Pass(10, Held(4));
  EXPECT_EQ(story.book.broken(), 0u) << "5 GiB by those of then";
}

TEST(PromiseBook, WhoWasMigratedAwayStillCounts) {
  Story story;
  story.Promise(4, Held(6));
  story.book.Migrated(Gib(3));
  story.Minute(Held(4));
  story.Pass(10, Held(4));
  EXPECT_EQ(story.book.broken(), 1u);
}

TEST(PromiseBook, AnEvictionBreaksAllThatAreOpen) {
  Story story;
  story.Pass(3, Held(1));
  story.book.Failed();
  story.Pass(12, Held(1));
  EXPECT_EQ(story.book.windows(), 5u);
  EXPECT_EQ(story.book.broken(), 3u);
}

TEST(PromiseBook, ColdMemoryMayBePushedOutInTime) {
  const Burden later = Held(10, 3);
  for (const auto& [means, broken] :
       {std::pair{Means{Gib(8), Bytes::MiB(40)}, 0u}, std::pair{Means{Gib(8), Bytes::MiB(20)}, 1u},
        std::pair{Means{Gib(1), Bytes::MiB(40)}, 1u}}) {
    Story story;
    story.Promise(2, Held(8));
    story.Minute(later, {}, means);
    story.Pass(10, Held(4));
    EXPECT_EQ(story.book.broken(), broken) << means.a_second.mib();
  }
}

TEST(PromiseBook, AnEmptyNodesPromiseDoesNotCount) {
  Story story;
  story.book.Promise(Gib(50), Held(0), false);
  story.Minute(Held(4));
  story.Pass(10, Held(4));
  EXPECT_EQ(story.book.windows(), 0u);
}

}  // namespace
}  // namespace ullage::simulation
