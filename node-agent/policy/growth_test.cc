// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/growth.h"

#include <gtest/gtest.h>

namespace ullage::policy {
namespace {

constexpr Bytes Mib(std::int64_t count) { return Bytes::MiB(count); }

TEST(GrowthHistogram, NineInNinetyNineLieBelowItsP99) {
  GrowthHistogram growth;
  EXPECT_EQ(growth.P99(), Permyriad{0}) << "nothing is known";
  for (int i = 0; i < 990; ++i) growth.Add(Permyriad{0}, 1);
  EXPECT_EQ(growth.P99().value, kEdges[0]);
  for (int i = 0; i < 9; ++i) growth.Add(Permyriad{3000}, 1);
  EXPECT_EQ(growth.P99().value, kEdges[0]) << "less than one in a hundred";
  for (int i = 0; i < 9; ++i) growth.Add(Permyriad{3000}, 1);
  EXPECT_GE(growth.P99(), Permyriad{3000});
  EXPECT_LE(growth.P99(), Permyriad{3451}) << "at most one bucket wider";
  growth.Add(Permyriad{1000000}, 0);
  EXPECT_EQ(growth.P99(), Permyriad{10000}) << "and nothing of before is left";
}

TEST(GrowthHistogram, WhatIsLongAgoWeighsLess) {
  GrowthHistogram growth;
  for (int i = 0; i < 100; ++i) growth.Add(Permyriad{5000}, 0.99F);
  for (int i = 0; i < 200; ++i) growth.Add(Permyriad{5}, 0.99F);
  EXPECT_GE(growth.P99(), Permyriad{5000});
  for (int i = 0; i < 400; ++i) growth.Add(Permyriad{5}, 0.99F);
  EXPECT_EQ(growth.P99().value, kEdges[0]);
}

class WindowTest : public testing::Test {
 protected:
  // One slot with these charges, tick by tick. True: a whole horizon was seen.
  bool Slot(std::initializer_list<std::int64_t> mib, std::int64_t swapped = 0) {
    for (const std::int64_t resident : mib) {
      window_.Observe(slot_, Mib(resident), Mib(resident + swapped), Mib(resident));
    }
    ++slot_;
    return window_.Close();
  }
  bool Slots(std::size_t count, std::int64_t mib, std::int64_t swapped = 0) {
    bool whole = false;
    for (std::size_t i = 0; i < count; ++i) whole = Slot({mib}, swapped);
    return whole;
  }
  std::int64_t Rise() const { return window_.Rise(slot_ - 1).mib(); }

  GrowthWindow window_;
  std::uint64_t slot_ = 1000;
};

TEST_F(WindowTest, TellsTheHighestOfAHorizonFromItsFirst) {
  EXPECT_FALSE(Slots(kSlots - 2, 100));
  EXPECT_FALSE(Slot({100, 180, 90}));
  EXPECT_TRUE(Slot({90}));
  EXPECT_EQ(Rise(), 80);
  EXPECT_TRUE(Slots(kSlots - 2, 90));
  EXPECT_EQ(Rise(), 80) << "the spike's own slot began at 100";
  EXPECT_TRUE(Slots(1, 90));
  EXPECT_EQ(Rise(), 0);
}

TEST_F(WindowTest, CountsWhatComesBackFromSwapAndWhatTheHostTookMeanwhile) {
  Slots(10, 50, 50);
  EXPECT_TRUE(Slots(10, 100, 0));
  EXPECT_EQ(Rise(), 50) << "it held 100 throughout, and 50 of the host's memory are gone";
  Slots(10, 100, 0);
  EXPECT_TRUE(Slots(10, 100, 70));
  EXPECT_EQ(Rise(), 70) << "it grew, and the host made room for it in swap";
}

TEST_F(WindowTest, AGapStartsAnew) {
  Slots(kSlots, 100);
  ++slot_;
  EXPECT_FALSE(window_.Close()) << "nothing was seen";
  EXPECT_FALSE(Slots(kSlots - 1, 100));
  EXPECT_TRUE(Slots(1, 100));
}

TEST_F(WindowTest, ASlotWithoutATickIsTakenAsTheLastOneWas) {
  for (std::size_t i = 0; i < kSlots / 2; ++i) {
    EXPECT_FALSE(Slot({i < 5 ? 100 : 150}));
    window_.Fill(slot_++);
    EXPECT_EQ(window_.Close(), i + 1 == kSlots / 2);
  }
  EXPECT_EQ(Rise(), 50);
}

TEST_F(WindowTest, KeepsWhatWasPromisedWhenASlotBegan) {
  window_.Observe(slot_, Mib(100), Mib(100), Mib(100));
  window_.Promise(slot_, Mib(7));
  window_.Observe(slot_, Mib(100), Mib(100), Mib(100));
  window_.Promise(slot_, Mib(9));
  EXPECT_EQ(window_.At(slot_).promised, Mib(7));
}

}  // namespace
}  // namespace ullage::policy
