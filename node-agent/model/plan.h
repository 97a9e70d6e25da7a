// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/snapshot.h"

namespace ullage {

/// Every term of the capacity sum (docs/policy.md):
///   C1 = A + Rec − Σg − B − U − N     C2 = A + swap − Σ(L − R) − B − U − N
struct CapacityTerms {
  Bytes available;  ///< A: what the host has left, less its own reserve, or the least of the two
                    ///< below
  std::optional<Bytes> until_eviction{};  ///< HostSample's
  std::optional<Bytes> pods_left{};       ///< HostSample's
  Bytes recoverable;                      ///< Rec: what reclaim could win back within the horizon
  Bytes growth;                           ///< Σg: what the VMs may claim within the horizon
  Bytes buffer;                           ///< B: for the one that claims most
  Bytes unsold;      ///< U: memory that was never promised; ordinary admission still sells it
  Bytes not_ours;    ///< N: promised to others that are no VMs, and not used by them
  Bytes cap;         ///< K × total − Σ L
  Bytes bound;       ///< C1, before the cap and before hysteresis
  Bytes bound_full;  ///< C2: holds even if every guest wants all at once
};

/// What the forecasts were worth.
struct PromiseAudit {
  std::uint64_t windows = 0;  ///< forecasts that were compared with what came
  std::uint64_t broken = 0;   ///< of which more came than was kept for it
  double width = 0;           ///< B is wider by this share of itself for that; 0 to 3
};

struct Capacity {
  std::optional<CapacityTerms> terms;  ///< absent when the host or the VMs are unknown
  Bytes promised;                      ///< Σ L
  Bytes ordinary;                      ///< of which on memory that was promised once
  Bytes granted;                       ///< Σ of what stands on reclaimable capacity
  Bytes additional;                    ///< C: may be promised in addition, whole quanta
  Bytes published;                     ///< granted + additional
  Bytes unsold;                        ///< what ordinary admission may still sell
  std::string reason;                  ///< why it is not more
  PromiseAudit audit{};
};

/// Why one VM counts as it does. Each action and each refusal has a reason.
struct VmDecision {
  VmId id;
  Bytes growth;  ///< g
  std::string reason;
  std::string hybrid{};  ///< what hybrid reclaim does to it and why; empty: it is not hybrid
};

struct Action {
  enum class Kind {
    kSwitchHintingOn,
    kSetGuestParameter,
    kRestoreGuestParameter,
    kSetBalloon,  ///< `amount`: what the balloon leaves to the guest
    kPageOut,     ///< `amount`: how much of its cold memory the host is to take
    kFetch,       ///< what was taken is fetched ahead: the guest has woken
    kLimit,       ///< `amount`: the leased limit of its cgroup
    kUnlimit,
    kMigrate,
    kEvict,
  };
  Kind kind;
  VmId id;
  std::string reason;
  std::string parameter{};  ///< of the guest's driver, and what it is to be …
  std::string value{};
  std::string before{};  ///< … and what it was before this agent
  Bytes amount{};
};

inline bool SameAction(const Action& a, const Action& b) {
  return a.kind == b.kind && a.id == b.id && a.parameter == b.parameter;
}

constexpr const char* Name(Action::Kind kind) {
  switch (kind) {
    case Action::Kind::kSwitchHintingOn:
      return "switch-hinting-on";
    case Action::Kind::kSetGuestParameter:
      return "set-guest-parameter";
    case Action::Kind::kRestoreGuestParameter:
      return "restore-guest-parameter";
    case Action::Kind::kSetBalloon:
      return "set-balloon";
    case Action::Kind::kPageOut:
      return "page-out";
    case Action::Kind::kFetch:
      return "fetch";
    case Action::Kind::kLimit:
      return "limit";
    case Action::Kind::kUnlimit:
      return "unlimit";
    case Action::Kind::kMigrate:
      return "migrate";
    case Action::Kind::kEvict:
      return "evict";
  }
  return "switch-hinting-on";
}

struct Plan {
  Capacity capacity;
  std::vector<VmDecision> vms;  ///< same order as the snapshot's
  std::vector<Action> actions;
  Squeeze squeeze = Squeeze::kNone;
  std::string nobody_goes{};         ///< why none is asked to, where one should be; empty otherwise
  std::vector<HybridState> hybrid;   ///< same order as the snapshot's VMs; empty: as it was
  std::vector<GuestChange> settled;  ///< there is nothing left of them to undo
  Carried carry;                     ///< for the next tick
};

/// What became of an action. It acts on nothing by itself: the next tick sees its effect.
struct Outcome {
  Action action;
  enum class State { kQueued, kDone, kFailed, kSkipped } state;
  std::string message;
};

constexpr const char* Name(Outcome::State s) {
  switch (s) {
    case Outcome::State::kQueued:
      return "queued";
    case Outcome::State::kDone:
      return "done";
    case Outcome::State::kFailed:
      return "failed";
    case Outcome::State::kSkipped:
      return "skipped";
  }
  return "failed";
}

/// Everything one tick has to say; immutable once published.
struct Report {
  Snapshot snapshot;
  Plan plan;
  std::vector<Outcome> outcomes;
  std::string mode;
  std::uint64_t tick = 0;
};

}  // namespace ullage
