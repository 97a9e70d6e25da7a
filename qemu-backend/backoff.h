// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "node-agent/model/time.h"

namespace ullage::qemu {

/// How long to rest before the next try: doubles up to `cap`, less up to a quarter of chance, so
/// that all the workers of a daemon that comes back do not knock at the same moment.
class Backoff {
 public:
  Backoff(milliseconds first, milliseconds cap, std::uint32_t seed)
      : first_(first), cap_(cap), next_(first), chance_(seed) {}

  milliseconds Next() {
    const auto whole = next_.count();
    next_ = std::min(next_ * 2, cap_);
    std::uniform_int_distribution<milliseconds::rep> less(0, whole / 4);
    return milliseconds(whole - less(chance_));
  }
  void Reset() { next_ = first_; }

 private:
  milliseconds first_, cap_, next_;
  std::minstd_rand chance_;
};

}  // namespace ullage::qemu
