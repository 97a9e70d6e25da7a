// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/damon_marks.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "node-agent/host/fake_guest_memory.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

using host::FakeGuestMemory;

constexpr std::uint64_t kFirstFrame = 100;  // FakeGuestMemory's
constexpr std::uint64_t kOnList = std::uint64_t{1} << 5;
constexpr std::uint64_t kTail = std::uint64_t{1} << 16;

std::uint64_t Page(std::uint64_t page) { return FakeGuestMemory::kBegin + page * host::kPage; }

// What DAMON was told, and what it will say.
struct Said {
  std::mutex mutex;
  std::vector<std::uint64_t> watched;
  std::vector<std::uint64_t> touched;
  int answers = 0;
  bool broken = false;
};

class FakeWatch final : public FrameWatch {
 public:
  explicit FakeWatch(Said& said) : said_(said) {}
  Status Watch(const std::vector<std::uint64_t>& frames) override {
    const std::lock_guard lock(said_.mutex);
    said_.watched = frames;
    if (said_.broken) return Error(Code::kUnavailable, "broken");
    return Ok();
  }
  Result<std::vector<std::uint64_t>> Untouched() override {
    const std::lock_guard lock(said_.mutex);
    ++said_.answers;
    std::vector<std::uint64_t> frames = said_.watched;
    std::erase_if(frames, [&](std::uint64_t frame) {
      return std::find(said_.touched.begin(), said_.touched.end(), frame) != said_.touched.end();
    });
    return frames;
  }

 private:
  Said& said_;
};

class StandingClock final : public host::Clock {
 public:
  Moment Now() const override { return {BootTime(seconds(at.load())), WallTime()}; }
  std::atomic<int> at = 0;
};

class DamonMarksTest : public testing::Test {
 protected:
  void Make(std::size_t pages) {
    std::vector<std::uint64_t> flags(kFirstFrame + pages, kOnList);
    if (pages > 5) {
      flags[kFirstFrame + 3] = 0;
      flags[kFirstFrame + 4] = kOnList | kTail;
    }
    const auto* bytes = reinterpret_cast<const char*>(flags.data());
    tree_.Write("kpageflags", std::string(bytes, flags.size() * sizeof flags[0]));
    memory_ = std::make_unique<FakeGuestMemory>(pages);
    marks_ = std::make_unique<DamonMarks>(
        std::make_unique<FakeWatch>(said_),
        host::Fd(open(tree_.path("kpageflags").c_str(), O_RDONLY | O_CLOEXEC)), clock_, seconds(1),
        100);
  }
  // Until DAMON was asked anew.
  bool AskedAgain() {
    const auto answers = [&] {
      const std::lock_guard lock(said_.mutex);
      return said_.answers;
    };
    // The round that is under way may have begun before.
    const int before = answers();
    return Eventually([&] { return answers() >= before + 2; });
  }
  static bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 6000; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  Said said_;
  host::TemporaryTree tree_;
  StandingClock clock_;
  std::unique_ptr<FakeGuestMemory> memory_;
  std::unique_ptr<DamonMarks> marks_;
};

TEST_F(DamonMarksTest, AMarkStandsWhereDamonSawNoUse) {
  Make(16);
  said_.touched = {kFirstFrame + 2};
  ASSERT_EQ(*marks_->Set(*memory_, {Page(1), Page(2)}), (std::vector<bool>{true, true}));
  ASSERT_TRUE(AskedAgain());
  EXPECT_EQ(*marks_->Stand(*memory_, {Page(1), Page(2)}), (std::vector<bool>{true, false}));
  EXPECT_EQ(*marks_->Stand(*memory_, {Page(1)}), std::vector<bool>{false}) << "asked for once";
  EXPECT_EQ(marks_->Room(), Damon::kMost);
  EXPECT_TRUE(Eventually([&] {
    const std::lock_guard lock(said_.mutex);
    return said_.watched.empty();
  })) << "and no longer looked at";
}

TEST_F(DamonMarksTest, WhatDamonDoesNotLookAtTakesNoMark) {
  Make(16);
  memory_->held[5] = false;
  EXPECT_EQ(*marks_->Set(*memory_, {Page(3), Page(4), Page(5), Page(6)}),
            (std::vector<bool>{false, false, false, true}))
      << "on no list, a part of a huge page, not held";
  memory_->frames = false;
  EXPECT_EQ(marks_->Set(*memory_, {Page(6)}).error().code(), Code::kDenied);
}

TEST_F(DamonMarksTest, APageThatMovedPassesForUsed) {
  Make(16);
  ASSERT_TRUE((*marks_->Set(*memory_, {Page(1)}))[0]);
  ASSERT_TRUE(AskedAgain());
  memory_->held[1] = false;
  EXPECT_EQ(*marks_->Stand(*memory_, {Page(1)}), std::vector<bool>{false});
}

TEST_F(DamonMarksTest, WhatWasMarkedAfterItsLastAnswerDoesNotStand) {
  Make(16);
  said_.mutex.lock();  // DAMON takes its time
  ASSERT_TRUE((*marks_->Set(*memory_, {Page(1)}))[0]);
  EXPECT_EQ(*marks_->Stand(*memory_, {Page(1)}), std::vector<bool>{false});
  said_.mutex.unlock();
  EXPECT_GT(marks_->Delay(), seconds(0)) << "which is why one is to wait";
}

TEST_F(DamonMarksTest, ItLooksAtSoManyAndNoMore) {
  Make(Damon::kMost + 2);
  std::vector<std::uint64_t> pages;
  for (std::uint64_t page = 0; page < Damon::kMost + 2; ++page) pages.push_back(Page(page));
  const auto took = *marks_->Set(*memory_, pages);
  EXPECT_EQ(std::count(took.begin(), took.end(), true), static_cast<long>(Damon::kMost));
  EXPECT_EQ(marks_->Room(), 0U);
  EXPECT_TRUE((*marks_->Set(*memory_, {Page(1)}))[0]) << "one that has a mark keeps it";
}

TEST_F(DamonMarksTest, AMarkThatNobodyAsksForIsForgotten) {
  Make(16);
  ASSERT_TRUE((*marks_->Set(*memory_, {Page(1)}))[0]);
  ASSERT_TRUE(AskedAgain());
  EXPECT_EQ(marks_->Room(), Damon::kMost - 1);
  clock_.at = 100;
  EXPECT_TRUE(Eventually([&] { return marks_->Room() == Damon::kMost; }));
}

TEST_F(DamonMarksTest, AFaultIsSaid) {
  said_.broken = true;
  Make(16);
  EXPECT_TRUE(Eventually([&] {
    const auto took = marks_->Set(*memory_, {Page(1)});
    return !took && took.error().code() == Code::kUnavailable;
  }));
}

}  // namespace
}  // namespace ullage::sources
