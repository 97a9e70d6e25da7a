// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/bytes.h"

#include <gtest/gtest.h>

namespace ullage {
namespace {

TEST(Bytes, SaturatesInsteadOfWrapping) {
  EXPECT_EQ(Bytes::Max() + Bytes(1), Bytes::Max());
  EXPECT_EQ(Bytes(std::numeric_limits<std::int64_t>::min()) - Bytes(1),
            Bytes(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(Bytes::Max() * Permyriad{20000}, Bytes::Max());
  EXPECT_EQ(Bytes::GiB(std::int64_t{1} << 60), Bytes::Max());
}

TEST(Bytes, RoundsToQuanta) {
  constexpr Bytes kQuantum = Bytes::MiB(64);
  EXPECT_EQ(Bytes::MiB(100).FloorTo(kQuantum), Bytes::MiB(64));
  EXPECT_EQ(Bytes::MiB(100).CeilTo(kQuantum), Bytes::MiB(128));
  EXPECT_EQ(Bytes::MiB(64).CeilTo(kQuantum), Bytes::MiB(64));
  EXPECT_EQ(Bytes(-1).FloorTo(kQuantum), Bytes::MiB(-64)) << "down is down below zero too";
  EXPECT_EQ(Bytes(-1).CeilTo(kQuantum), Bytes());
}

TEST(Bytes, TakesShares) {
  EXPECT_EQ(Bytes(1000) * Permyriad{1000}, Bytes(100));
  EXPECT_EQ(Bytes(9) * Permyriad{5000}, Bytes(4));
}

}  // namespace
}  // namespace ullage
