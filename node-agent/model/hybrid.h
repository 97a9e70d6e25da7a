// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage {

/// What the host itself saw of a VM's use of its memory: trusted, unlike GuestStats. Absent: no
/// probe has seen it, which is neither "all cold" nor "none".
struct WorkingSet {
  /// Held, and not touched for `PolicyParams::cold_after`. What QEMU itself needs is not in it.
  std::optional<Bytes> cold;
  /// f: the share of what it holds that was touched lately; a moving average that follows a rise at
  /// once and a fall slowly, as ESX does (Waldspurger, OSDI 2002, section 5.3).
  std::optional<Permyriad> active;
  std::optional<BootTime> seen_at;  ///< when the probe last looked
  std::string probe;                ///< damon | idle-page; empty: none looks at this VM
  std::string fault;                ///< why it does not
};

/// What this agent has written to one VM's cgroup and what undoes it. Leased: a small program
/// beside the agent clears it once the agent stops breathing.
struct LeasedLimit {
  Bytes limit;               ///< v2 memory.high, v1 memory.limit_in_bytes
  std::optional<Bytes> was;  ///< absent: there was none
  bool yielded = false;      ///< another writer changed it: left to that one
};

/// Where one VM stands between giving and taking: what the policy carries from tick to tick.
struct HybridState {
  std::optional<Bytes> balloon_wish;   ///< what the balloon is to leave to the guest; absent: all
  std::optional<Bytes> held_at_step;   ///< R and what is in swap, at the last balloon step
  std::optional<BootTime> stepped_at;  ///< when that was
  std::uint32_t idle_steps = 0;        ///< steps in a row after which R did not fall
  std::optional<BootTime> gave_up_at;  ///< the balloon made no progress; tried again later
  std::optional<Bytes> limit_wish;     ///< the leased limit; absent: none
  std::optional<BootTime> woke_at;     ///< when it last turned needy
  bool needy = false;                  ///< as the last tick saw it
  std::uint64_t missed_milli = 0;      ///< faults a minute × 1000, averaged over about a minute
  std::optional<BootTime> missed_at;   ///< up to when
  std::optional<BootTime> limited_at;  ///< when that limit was asked for
  std::optional<BootTime> yielded_at;  ///< another writer won; no limit of ours for a while
  std::optional<BootTime> paged_at;    ///< when the host was last asked to take cold memory
  std::optional<BootTime> fetched_at;  ///< when what was taken was last fetched ahead
  std::optional<BootTime> turn_at;     ///< when its last turn as the one that gives began
  std::optional<Bytes> held_at_turn;   ///< R then
  std::optional<BootTime> moved_at;    ///< when it was last asked to go elsewhere, or to end
  std::optional<Bytes> held_last;      ///< R and what is in swap, in the last tick
  std::optional<BootTime> grew_at;     ///< when that last rose by more than noise
  bool operator==(const HybridState&) const = default;
};

/// How short the host is, by A against B (docs/policy.md): each state does what those before it do.
enum class Squeeze { kNone, kHold, kShrink, kLimit, kEvict };

/// What escalation carries from tick to tick.
struct Escalation {
  Squeeze squeeze = Squeeze::kNone;
  std::optional<BootTime> moved_at;  ///< when a VM was last migrated or evicted
};

constexpr const char* Name(Squeeze squeeze) {
  switch (squeeze) {
    case Squeeze::kNone:
      return "none";
    case Squeeze::kHold:
      return "hold";
    case Squeeze::kShrink:
      return "shrink";
    case Squeeze::kLimit:
      return "limit";
    case Squeeze::kEvict:
      return "evict";
  }
  return "none";
}

}  // namespace ullage
