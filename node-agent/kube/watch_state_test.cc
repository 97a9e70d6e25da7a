// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/watch_state.h"

#include <gmock/gmock.h>

#include "node-agent/kube/line_framer.h"

namespace ullage::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Do = WatchState::Do;

constexpr milliseconds kNone{0};
constexpr BackoffRange kRange{milliseconds(500), milliseconds(30000)};

class WatchStateTest : public testing::Test {
 protected:
  void Expect(Do what, milliseconds rest, const std::string& version) {
    const WatchState::Step step = state_.Next();
    EXPECT_EQ(step.what, what);
    EXPECT_EQ(step.rest, rest);
    EXPECT_EQ(step.version, version);
  }
  void Start() {
    Expect(Do::kList, kNone, "0");
    state_.Listed("10");
    Expect(Do::kWatch, kNone, "10");
  }

  std::uint64_t random_ = 0;
  WatchState state_{kRange, [this] { return random_; }};
};

TEST_F(WatchStateTest, ListsFromTheCacheThenWatchesFromThere) { Start(); }

TEST_F(WatchStateTest, GoesOnAfterTheLastThatItHeard) {
  Start();
  state_.Heard("11");
  state_.Heard("15");
  state_.Heard("");
  state_.Ended(kNone);
  Expect(Do::kWatch, kNone, "15");
}

TEST_F(WatchStateTest, AfterAnExpiredWatchAListThatIsNotOlder) {
  Start();
  state_.Heard("11");
  random_ = 200;
  state_.Failed(Code::kGone, {});
  Expect(Do::kList, milliseconds(200), "11");
  state_.Listed("90");
  Expect(Do::kWatch, kNone, "90");
}

TEST_F(WatchStateTest, AVersionThatCannotBeListedEitherIsListedFromEtcd) {
  Start();
  state_.Failed(Code::kGone, {});
  Expect(Do::kList, kNone, "10");
  state_.Failed(Code::kGone, {});
  Expect(Do::kList, kNone, "");
  state_.Failed(Code::kUnavailable, {});
  Expect(Do::kList, kNone, "");
  state_.Listed("90");
  Expect(Do::kWatch, kNone, "90");
}

// However long it was away: 5,000 agents would read etcd at once when it is back.
TEST_F(WatchStateTest, AServerThatWasAwayIsNotListedFromEtcd) {
  Start();
  for (int i = 0; i < 20; ++i) {
    state_.Failed(Code::kUnavailable, {});
    EXPECT_EQ(state_.Next().version, "10");
  }
  state_.Listed("90");
  Expect(Do::kWatch, kNone, "90");
}

TEST_F(WatchStateTest, AnExpiredListStartsAgain) {
  Expect(Do::kList, kNone, "0");
  state_.Failed(Code::kGone, {});
  Expect(Do::kList, kNone, "");
}

TEST_F(WatchStateTest, RestsLongerWithEachFailureUpToTheCap) {
  Start();
  std::vector<milliseconds::rep> ceilings;
  for (int i = 0; i < 8; ++i) {
    state_.Failed(Code::kUnavailable, {});
    random_ = static_cast<std::uint64_t>(
        RestCeiling(static_cast<unsigned>(i), kRange).count());  // the most that it may be
    ceilings.push_back(state_.Next().rest.count());
  }
  EXPECT_THAT(ceilings, ElementsAre(500, 1000, 2000, 4000, 8000, 16000, 30000, 30000));
}

TEST_F(WatchStateTest, AWordFromTheServerForgetsTheFailures) {
  Start();
  for (int i = 0; i < 2; ++i) state_.Failed(Code::kUnavailable, {});
  state_.Heard("12");
  state_.Failed(Code::kDeadline, {});
  random_ = 500;
  Expect(Do::kWatch, milliseconds(500), "12");
}

TEST_F(WatchStateTest, ListsWhenNoWatchComesAbout) {
  Start();
  state_.Failed(Code::kDeadline, {});
  Expect(Do::kWatch, kNone, "10");
  state_.Failed(Code::kDeadline, {});
  Expect(Do::kWatch, kNone, "10");
  state_.Failed(Code::kDeadline, {});
  Expect(Do::kList, kNone, "10");  // not older than what is known
  state_.Failed(Code::kDeadline, {});
  Expect(Do::kList, kNone, "");  // this server cannot serve that version
}

TEST_F(WatchStateTest, HonoursRetryAfterOnTopOfTheRest) {
  Start();
  random_ = 100;
  state_.Failed(Code::kUnavailable, seconds(7));
  Expect(Do::kWatch, milliseconds(7100), "10");
  Expect(Do::kWatch, kNone, "10");  // once
}

TEST_F(WatchStateTest, AWatchThatEndsAtOnceIsNoWatch) {
  Start();
  random_ = 300;
  state_.Ended(milliseconds(999));
  Expect(Do::kWatch, milliseconds(300), "10");
  state_.Ended(milliseconds(1000));
  Expect(Do::kWatch, kNone, "10");
}

class LineFramerTest : public testing::Test {
 protected:
  Status Feed(std::string_view piece) {
    return framer_.Feed(piece, [this](std::string_view line) -> Status {
      lines_.emplace_back(line);
      if (line == "bad") return Error(Code::kInvalid, "bad");
      return Ok();
    });
  }
  LineFramer framer_{8};
  std::vector<std::string> lines_;
};

TEST_F(LineFramerTest, PiecesFallAnywhere) {
  for (const char* piece : {"a", "b\nc", "d", "", "\n\n\nef\ngh", "\ni"}) {
    EXPECT_TRUE(Feed(piece).ok());
  }
  EXPECT_THAT(lines_, ElementsAre("ab", "cd", "ef", "gh"));
}

TEST_F(LineFramerTest, ALineIsBounded) {
  EXPECT_TRUE(Feed("12345678\n1234").ok());
  EXPECT_TRUE(Feed("5678\n").ok());
  EXPECT_EQ(Feed("123456789\n").error().code(), Code::kExhausted);
  EXPECT_EQ(lines_.size(), 2U);
}

TEST_F(LineFramerTest, ALineWithoutAnEndIsBoundedToo) {
  EXPECT_TRUE(Feed("12345678").ok());
  EXPECT_EQ(Feed("9").error().code(), Code::kExhausted);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(LineFramerTest, StopsAtTheFirstError) {
  EXPECT_EQ(Feed("a\nbad\nb\n").error().code(), Code::kInvalid);
  EXPECT_THAT(lines_, ElementsAre("a", "bad"));
}

}  // namespace
}  // namespace ullage::kube
