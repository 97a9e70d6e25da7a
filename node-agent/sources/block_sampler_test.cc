// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/block_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "node-agent/host/fake_guest_memory.h"
#include "node-agent/sources/fake_marks.h"

namespace ullage::sources {
namespace {

constexpr seconds kColdAfter{120};
constexpr std::size_t kBlock = 512;  // pages

BootTime At(seconds seconds_since_boot) { return BootTime(seconds_since_boot); }

class BlockSamplerTest : public testing::Test {
 protected:
  void Make(std::size_t blocks) {
    auto memory = std::make_unique<host::FakeGuestMemory>(blocks * kBlock);
    memory_ = memory.get();
    sampler_ = std::make_unique<BlockSampler>(std::move(memory), marks_, kColdAfter, 7);
  }
  std::size_t Round(seconds now) {
    std::size_t steps = 0;
    while (*sampler_->Step(At(now))) ++steps;
    return steps;
  }
  void Touch(std::size_t first, std::size_t end) {
    const auto address = [](std::size_t page) {
      return host::FakeGuestMemory::kBegin + page * host::kPage;
    };
    marks_.marked.erase(marks_.marked.lower_bound(address(first)),
                        marks_.marked.lower_bound(address(end)));
  }
  FakeMarks marks_;
  host::FakeGuestMemory* memory_ = nullptr;
  std::unique_ptr<BlockSampler> sampler_;
};

TEST_F(BlockSamplerTest, FindsTheColdHalf) {
  Make(64);
  EXPECT_EQ(sampler_->Latest().cold, std::nullopt) << "not looked at is not zero";
  EXPECT_EQ(Round(seconds(0)), 64U);
  Touch(0, 32 * kBlock);
  EXPECT_EQ(Round(seconds(60)), 0U) << "too soon to call anything cold";
  EXPECT_EQ(sampler_->Latest().cold, std::nullopt);
  Round(kColdAfter);
  const WorkingSet set = sampler_->Latest();
  ASSERT_TRUE(set.cold);
  EXPECT_EQ(*set.cold, Bytes::MiB(64));
  EXPECT_EQ(set.active, Permyriad{5000});
  EXPECT_EQ(set.seen_at, At(kColdAfter));
  EXPECT_EQ(set.probe, "fake");
  EXPECT_EQ(set.fault, "");
}

TEST_F(BlockSamplerTest, NamesColdBlocksOnceAndNoOthers) {
  Make(64);
  Round(seconds(0));
  Touch(0, 32 * kBlock);
  Round(kColdAfter);
  const auto some = sampler_->TakeCold(Bytes::MiB(10), At(kColdAfter));
  const auto rest = sampler_->TakeCold(Bytes::GiB(1), At(kColdAfter));
  EXPECT_EQ(some.size(), 5U) << "2 MiB each";
  EXPECT_EQ(some.size() + rest.size(), 32U);
  for (const auto& ranges : {some, rest}) {
    for (const host::AddressRange& range : ranges) {
      EXPECT_GE(host::FakeGuestMemory::At(range.begin), 32 * kBlock);
      EXPECT_EQ(range.size(), kBlock * host::kPage);
    }
  }
  EXPECT_TRUE(sampler_->TakeCold(Bytes::GiB(1), At(kColdAfter)).empty());
  EXPECT_EQ(sampler_->Latest().cold, Bytes(0));
}

TEST_F(BlockSamplerTest, WhatCameBackIsInUse) {
  Make(8);
  Round(seconds(0));
  Round(kColdAfter);
  ASSERT_EQ(sampler_->TakeCold(Bytes::GiB(1), At(kColdAfter)).size(), 8U);
  Touch(0, 8 * kBlock);
  Round(2 * kColdAfter);
  Touch(0, 8 * kBlock);
  Round(3 * kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, Bytes(0));
  EXPECT_EQ(sampler_->Latest().active, Permyriad{10000}) << "a rise is followed at once";
}

TEST_F(BlockSamplerTest, ActiveFallsSlowly) {
  Make(8);
  Round(seconds(0));
  Touch(0, 8 * kBlock);
  Round(kColdAfter);
  ASSERT_EQ(sampler_->Latest().active, Permyriad{10000});
  // Found in use once, it is marked at once again; nobody touches it any more.
  Round(2 * kColdAfter);
  Round(3 * kColdAfter);
  const auto active = sampler_->Latest().active;
  EXPECT_LT(active, Permyriad{10000});
  EXPECT_GT(active, Permyriad{5000});
}

TEST_F(BlockSamplerTest, WithoutMarksNothingIsColdAndItSaysWhy) {
  Make(128);
  marks_.stuck = true;
  Round(seconds(0));
  Round(kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, std::nullopt);
  EXPECT_NE(sampler_->Latest().fault, "");
  EXPECT_TRUE(sampler_->TakeCold(Bytes::GiB(1), At(kColdAfter)).empty());
}

TEST_F(BlockSamplerTest, WhatIsNotHeldIsNotCold) {
  Make(8);
  std::fill(memory_->held.begin(), memory_->held.end(), false);
  Round(seconds(0));
  Round(kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, std::nullopt);
  EXPECT_TRUE(marks_.marked.empty());
}

TEST_F(BlockSamplerTest, ALargeGuestIsCutIntoLargeBlocks) {
  Make(8192);
  EXPECT_EQ(Round(seconds(0)), 2048U);
}

TEST_F(BlockSamplerTest, WhereMarksAreFewTheBlocksTakeTurns) {
  marks_.most = 16;
  Make(8);
  EXPECT_EQ(Round(seconds(0)), 4U) << "four marks each";
  EXPECT_EQ(Round(seconds(60)), 0U);
  Round(kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, Bytes::MiB(8));
  Round(2 * kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, Bytes::MiB(16)) << "the others' turn came first";
}

TEST_F(BlockSamplerTest, WhatWaitsTooLongForMarksIsNotKnown) {
  Make(8);
  Round(seconds(0));
  Round(kColdAfter);
  ASSERT_EQ(sampler_->Latest().cold, Bytes::MiB(16));
  marks_.most = 0;
  Round(2 * kColdAfter);  // what is marked is judged
  Round(10 * kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, Bytes::MiB(16));
  Round(12 * kColdAfter);
  EXPECT_EQ(sampler_->Latest().cold, Bytes(0));
  EXPECT_TRUE(sampler_->TakeCold(Bytes::GiB(1), At(12 * kColdAfter)).empty());
}

TEST_F(BlockSamplerTest, MarksThatCountLaterAreAskedLater) {
  marks_.delay = seconds(30);
  Make(8);
  Round(seconds(0));
  EXPECT_EQ(Round(kColdAfter), 0U);
  EXPECT_EQ(Round(kColdAfter + seconds(30)), 8U);
}

TEST_F(BlockSamplerTest, AnEndedProcessIsAnError) {
  Make(8);
  memory_->gone = true;
  EXPECT_EQ(sampler_->Step(At(seconds(0))).error().code(), Code::kGone);
}

}  // namespace
}  // namespace ullage::sources
