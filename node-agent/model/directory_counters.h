// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace ullage {

/// What was asked of QEMUs and guests, and how they answered, since the agent started. For metrics.
struct DirectoryCounters {
  std::uint64_t questions = 0;        ///< put to libvirt and QEMUs
  std::uint64_t failures = 0;         ///< answered with an error
  std::uint64_t late = 0;             ///< answered after the deadline
  std::uint64_t connections = 0;      ///< opened for QEMUs, reconnects included
  std::uint64_t resets = 0;           ///< guest resets seen
  std::uint64_t implausible = 0;      ///< figures of guests that cannot be true
  std::uint64_t guest_questions = 0;  ///< put to guest agents
  std::uint64_t guest_failures = 0;   ///< answered with an error, or not at all
  std::uint64_t guest_late = 0;       ///< answered after the deadline
  std::uint64_t guest_refused = 0;    ///< answers, or parts of them, that made no sense
};

}  // namespace ullage
