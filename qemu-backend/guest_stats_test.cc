// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/guest_stats.h"

#include <gtest/gtest.h>

namespace ullage::qemu {
namespace {

constexpr Bytes kMemory = Bytes::MiB(512);
const WallTime kNow{seconds(1'800'000'000)};
const WallTime kLongAgo{};

std::uint64_t Before(std::int64_t ago) { return static_cast<std::uint64_t>(1'800'000'000 - ago); }

TEST(GuestStats, TranslatesKibibytes) {
  std::uint64_t implausible = 0;
  const GuestStats stats = ReadGuestStats({512 * 1024, 1024, 400 * 1024, 2048, Before(10)}, kMemory,
                                          kLongAgo, kNow, implausible);
  EXPECT_EQ(stats.balloon, kMemory);
  EXPECT_EQ(stats.unused, Bytes::MiB(1));
  EXPECT_EQ(stats.available, Bytes::MiB(400));
  EXPECT_EQ(stats.usable, Bytes::MiB(2));
  EXPECT_EQ(implausible, 0u);
}

TEST(GuestStats, SwapCountersPassTheGuestsSize) {
  std::uint64_t implausible = 0;
  const std::uint64_t much = std::uint64_t{4} << 20;  // 4 GiB, of a guest of 512 MiB
  GuestStats stats = ReadGuestStats({{}, {}, {}, {}, Before(0), much, ~std::uint64_t{0}}, kMemory,
                                    kLongAgo, kNow, implausible);
  EXPECT_EQ(stats.swap_in, Bytes::GiB(4));
  EXPECT_EQ(stats.swap_out, std::nullopt);
  EXPECT_EQ(implausible, 1u);
  stats = ReadGuestStats({{}, {}, {}, {}, {}, much}, kMemory, kLongAgo, kNow, implausible);
  EXPECT_EQ(stats.swap_in, std::nullopt) << "an old word";
}

TEST(GuestStats, AbsentStaysAbsent) {
  std::uint64_t implausible = 0;
  const GuestStats stats =
      ReadGuestStats({{}, 0, {}, {}, Before(0)}, kMemory, kLongAgo, kNow, implausible);
  EXPECT_EQ(stats.balloon, std::nullopt);
  EXPECT_EQ(stats.unused, Bytes(0));
  EXPECT_EQ(stats.available, std::nullopt);
}

TEST(GuestStats, ClampsDropsAndCountsWhatCannotBe) {
  std::uint64_t implausible = 0;
  const std::uint64_t minus_one = ~std::uint64_t{0};
  const GuestStats stats = ReadGuestStats(
      {minus_one, 512 * 1024 + 1, std::uint64_t{1} << 54, std::uint64_t{1} << 53, Before(0)},
      kMemory, kLongAgo, kNow, implausible);
  EXPECT_EQ(stats.balloon, std::nullopt);
  EXPECT_EQ(stats.unused, kMemory);
  EXPECT_EQ(stats.available, std::nullopt);  // 2^64 bytes would wrap to none
  EXPECT_EQ(stats.usable, std::nullopt);     // 2^63 would be negative
  EXPECT_EQ(implausible, 4u);
}

TEST(GuestStats, ForgetsWhatIsOldOrOfAnEarlierGuest) {
  std::uint64_t implausible = 0;
  for (const std::optional<std::uint64_t> update :
       {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(0), std::optional(Before(61)),
        std::optional(~std::uint64_t{0})}) {
    const GuestStats stats =
        ReadGuestStats({1024, 1, 1, 1, update}, kMemory, kLongAgo, kNow, implausible);
    EXPECT_EQ(stats.balloon, Bytes::MiB(1));  // QEMU's own
    EXPECT_EQ(stats.unused, std::nullopt);
  }
  const GuestStats rebooted =
      ReadGuestStats({1024, 1, 1, 1, Before(5)}, kMemory, kNow - seconds(3), kNow, implausible);
  EXPECT_EQ(rebooted.unused, std::nullopt);
}

}  // namespace
}  // namespace ullage::qemu
