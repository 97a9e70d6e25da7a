// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace ullage {

/// A share in 1/10,000 (10,000 = 100 %). Integer, so that a policy gives the same answer
/// everywhere.
struct Permyriad {
  std::int64_t value = 0;
  constexpr auto operator<=>(const Permyriad&) const = default;
};

/// Wide enough for any product of two 64-bit numbers.
__extension__ using Wide = __int128;

/// A count of bytes. Signed, because a term of the capacity sum may go below zero, and saturating,
/// because figures from guests and cgroup files are hostile: an overflow must not turn a huge
/// number into a small one.
class Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(std::int64_t count) : count_(count) {}

  static constexpr Bytes KiB(std::int64_t n) { return Bytes(Multiply(n, std::int64_t{1} << 10)); }
  static constexpr Bytes MiB(std::int64_t n) { return Bytes(Multiply(n, std::int64_t{1} << 20)); }
  static constexpr Bytes GiB(std::int64_t n) { return Bytes(Multiply(n, std::int64_t{1} << 30)); }
  static constexpr Bytes Max() { return Bytes(std::numeric_limits<std::int64_t>::max()); }

  constexpr std::int64_t count() const { return count_; }
  constexpr std::int64_t mib() const { return count_ / (std::int64_t{1} << 20); }

  constexpr auto operator<=>(const Bytes&) const = default;

  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(Add(a.count_, b.count_)); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes(Subtract(a.count_, b.count_)); }
  constexpr Bytes& operator+=(Bytes other) { return *this = *this + other; }
  constexpr Bytes& operator-=(Bytes other) { return *this = *this - other; }

  /// The share of this amount, rounded towards zero.
  friend constexpr Bytes operator*(Bytes a, Permyriad share) {
    const auto wide = static_cast<Wide>(a.count_) * share.value / 10000;
    return Bytes(Narrow(wide));
  }

  /// Rounded down (up) to a multiple of `quantum`, which is positive.
  constexpr Bytes FloorTo(Bytes quantum) const {
    std::int64_t rest = count_ % quantum.count_;
    if (rest < 0) rest += quantum.count_;
    return Bytes(Subtract(count_, rest));
  }
  constexpr Bytes CeilTo(Bytes quantum) const {
    const Bytes down = FloorTo(quantum);
    return down == *this ? down : down + quantum;
  }

 private:
  static constexpr std::int64_t Narrow(Wide wide) {
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
    if (wide > kMax) return kMax;
    if (wide < kMin) return kMin;
    return static_cast<std::int64_t>(wide);
  }
  static constexpr std::int64_t Add(std::int64_t a, std::int64_t b) {
    return Narrow(static_cast<Wide>(a) + b);
  }
  static constexpr std::int64_t Subtract(std::int64_t a, std::int64_t b) {
    return Narrow(static_cast<Wide>(a) - b);
  }
  static constexpr std::int64_t Multiply(std::int64_t a, std::int64_t b) {
    return Narrow(static_cast<Wide>(a) * b);
  }

  std::int64_t count_ = 0;
};

constexpr Bytes Clamp(Bytes value, Bytes low, Bytes high) {
  if (value < low) return low;
  return value > high ? high : value;
}

}  // namespace ullage
