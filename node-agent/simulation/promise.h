// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "node-agent/model/bytes.h"

namespace ullage::simulation {

/// How long a promise has to hold.
inline constexpr std::int64_t kHorizonMinutes = 10;

/// What a node holds at one moment.
struct Burden {
  Bytes held;  ///< Σ of what its VMs hold, wherever it is, and what the host itself needs
  Bytes cold;  ///< of which cold
  Bytes out;   ///< cold memory that was pushed out: in swap, or taken by balloons
};

/// What can be done to hold a promise, besides: cold memory may be pushed out.
struct Means {
  Bytes space;     ///< for how much in all
  Bytes a_second;  ///< and how fast
};

/// Was the promise broken? One definition for whoever made it:
///
///   At each minute t a node says that `room` bytes more may be promised on it. That promise is
///   broken when at any moment of (t, t + 10 minutes]
///
///     what the VMs hold that stood on the node at t  +  room  >  the host's memory  +  out,
///
///   with out = min(their cold memory, what was out at t + what can be pushed out since t, in the
///   space that there is). That is: had everyone come who was let in, and used all of it, while the
///   others did what they did, somebody's memory in use would not have fitted.
///
/// VMs that came after t do not count, for they came out of `room`. One that ended of itself has
/// given back what it held. One that was migrated away counts until the horizon with what it held
/// then. A VM that was evicted, or killed, for want of memory breaks every promise that is open.
/// Room that is below zero (more stands on the node than the strategy would place today) is zero.
/// The promise of a node on which no VM stands is not counted: nobody's growth can break it.
class PromiseBook {
 public:
  /// The room of the minute that begins now. `counts`: VMs stand on the node.
  void Promise(Bytes room, const Burden& now, bool counts);
  /// At a moment, `second` (1 to 60) of the minute that began with the last Promise(). `since[k]`:
  /// what VMs hold that came in the last k + 1 minutes, this one included.
  using Newcomers = std::array<Bytes, kHorizonMinutes>;
  void Look(const Burden& now, const Newcomers& since, const Means& means, Bytes total,
            std::int64_t second);
  void Migrated(Bytes held);
  void Failed();

  std::uint64_t windows() const { return windows_; }  ///< whose horizon has passed
  std::uint64_t broken() const { return broken_; }

 private:
  struct Window {
    Bytes room, out, gone;
    bool counts = false;
    bool broken = false;
  };
  Window& Back(std::int64_t minutes) {
    return open_[static_cast<std::size_t>((count_ - 1 - minutes) % kHorizonMinutes)];
  }

  std::array<Window, kHorizonMinutes> open_;
  std::int64_t count_ = 0;  // promises so far
  std::uint64_t windows_ = 0, broken_ = 0;
};

}  // namespace ullage::simulation
