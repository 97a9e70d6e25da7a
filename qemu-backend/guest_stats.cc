// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/guest_stats.h"

#include <chrono>

namespace ullage::qemu {
namespace {

std::optional<Bytes> Figure(std::optional<std::uint64_t> kib, Bytes most,
                            std::uint64_t& implausible) {
  if (!kib) return std::nullopt;
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(*kib, std::uint64_t{1024}, &bytes)) {
    ++implausible;
    return std::nullopt;
  }
  if (Bytes(bytes) > most) {
    ++implausible;
    return most;
  }
  return Bytes(bytes);
}

// libvirt tells whole seconds since 1970; the guest's own clock has no part in it.
bool Recent(std::optional<std::uint64_t> last_update, WallTime since, WallTime now) {
  if (!last_update || *last_update == 0) return false;
  constexpr std::uint64_t kFuture = std::uint64_t{1} << 33;  // beyond it nothing can be added
  if (*last_update > kFuture) return false;
  const WallTime at{seconds(*last_update)};
  return at + seconds(1) > since && at + kGuestStatsAge >= now;
}

}  // namespace

GuestStats ReadGuestStats(const BalloonReport& report, Bytes guest_memory, WallTime since,
                          WallTime now, std::uint64_t& implausible) {
  GuestStats stats;
  stats.balloon = Figure(report.actual, guest_memory, implausible);
  if (!Recent(report.last_update, since, now)) return stats;
  stats.unused = Figure(report.unused, guest_memory, implausible);
  stats.available = Figure(report.available, guest_memory, implausible);
  stats.usable = Figure(report.usable, guest_memory, implausible);
  // Counters: over time they pass any size of the guest.
  stats.swap_in = Figure(report.swap_in, Bytes::Max(), implausible);
  stats.swap_out = Figure(report.swap_out, Bytes::Max(), implausible);
  return stats;
}

}  // namespace ullage::qemu
