// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "node-agent/model/bytes.h"
#include "node-agent/model/guest_module.h"
#include "node-agent/model/time.h"

namespace ullage {

/// Identity that outlives a tick: the libvirt domain's UUID (standalone) or the VMI's UID. Names
/// and pids are reused, these are not.
struct VmId {
  std::string value;
  auto operator<=>(const VmId&) const = default;
};

/// Annotation `ullage.io/reclaim`.
enum class Reclaim { kHints, kHybrid, kOff };
/// Annotation `ullage.io/placement`.
enum class Placement { kStandard, kReclaimed };
/// Annotation `ullage.io/guest-agent`: may we read and set things inside the guest through its
/// agent. Unset: the configuration decides.
enum class GuestAccess { kUnset, kAllow, kDeny };

/// What the configuration says of guests' agents.
enum class GuestRule {
  kNever,  ///< nobody's is used
  kDeny,   ///< those whose owner allows it
  kAllow,  ///< all but those whose owner denies it
};
constexpr bool MayAsk(GuestRule rule, GuestAccess owner) {
  if (rule == GuestRule::kNever || owner == GuestAccess::kDeny) return false;
  return owner == GuestAccess::kAllow || rule == GuestRule::kAllow;
}

/// What was promised to a VM, and what its owner allows.
struct VmSpec {
  VmId id;
  std::string name;    ///< printable UTF-8, made safe where it enters (host/text.h)
  Bytes guest_memory;  ///< <memory> of the domain: the most that the guest can hold
  std::uint32_t vcpus = 1;
  Placement placement = Placement::kStandard;
  Reclaim reclaim = Reclaim::kHints;
  GuestAccess guest_access = GuestAccess::kUnset;
  /// Annotation `ullage.io/min-memory`: never shrunk below it; absent: a quarter of guest_memory.
  std::optional<Bytes> min_memory{};
  std::uint32_t shares = 1000;  ///< annotation `ullage.io/shares`: weight among VMs that compete
  std::string bad_setting;      ///< a setting of the owner that made no sense; its default applies
};

/// m: what a VM is never taken below: its owner's word, else this share of its memory.
inline Bytes LeastMemory(const VmSpec& spec, Permyriad share) {
  return spec.min_memory.value_or(spec.guest_memory * share);
}

/// The proof that free page reporting is on has two halves; either alone says nothing.
/// Absent: nobody answered. (virtio 1.2, 5.5.6.7)
struct HintingProof {
  std::optional<bool> balloon;        ///< the domain has a virtio balloon device
  std::optional<bool> offered;        ///< VIRTIO_BALLOON_F_REPORTING among QEMU's features
  std::optional<bool> negotiated;     ///< VIRTIO_BALLOON_F_REPORTING among the guest's features
  std::optional<bool> at_next_start;  ///< the persistent configuration offers it
};

enum class Hinting { kUnknown, kNoBalloon, kNotOffered, kNotNegotiated, kOn };

constexpr Hinting Judge(const HintingProof& proof) {
  if (proof.balloon && !*proof.balloon) return Hinting::kNoBalloon;
  if (proof.offered && !*proof.offered) return Hinting::kNotOffered;
  if (!proof.offered || !proof.negotiated) return Hinting::kUnknown;
  return *proof.negotiated ? Hinting::kOn : Hinting::kNotNegotiated;
}

/// What the guest says of itself (virtio balloon statistics). Untrusted: shown, and never able to
/// raise the published capacity.
struct GuestStats {
  std::optional<Bytes> balloon;     ///< what the balloon leaves to the guest
  std::optional<Bytes> unused;      ///< the guest's MemFree
  std::optional<Bytes> available;   ///< the guest's MemTotal
  std::optional<Bytes> usable;      ///< the guest's MemAvailable
  std::optional<Bytes> swap_in{};   ///< read from its own swap since it booted …
  std::optional<Bytes> swap_out{};  ///< … and written to it
};

enum class Run { kUnknown, kRunning, kPaused, kOff };

/// The latest word of one QEMU, gathered by qemu-backend without ever blocking the tick.
struct QemuFacts {
  VmSpec spec;
  Run run = Run::kUnknown;
  std::optional<std::int32_t> pid;
  std::string memory_cgroup;  ///< absolute path of what charges it, where its pod was followed to
                              ///< it; empty: the cgroup of `pid`
  std::uint64_t epoch = 0;    ///< rises with each QEMU start and each guest reset seen
  HintingProof hinting;
  /// The guest takes memory back from its balloon before it kills a process for want of it:
  /// VIRTIO_BALLOON_F_DEFLATE_ON_OOM, offered and accepted (virtio 1.2, 5.5.3). Absent: nobody
  /// answered.
  std::optional<bool> autodeflate{};
  GuestStats guest;
  std::string exempt;  ///< why the host keeps what this guest returns; empty: nothing says so
  GuestAgent agent = GuestAgent::kUnknown;
  std::string agent_fault;  ///< the last thing that failed in the guest; no fault of QEMU's
  std::optional<GuestModule> module;
  std::optional<BootTime> answered_at;  ///< when this QEMU last answered a question
  bool stalled = false;                 ///< a question is past its deadline
  std::string fault;                    ///< the last error, empty when there is none
};

constexpr const char* Name(Hinting h) {
  switch (h) {
    case Hinting::kUnknown:
      return "unknown";
    case Hinting::kNoBalloon:
      return "no-balloon";
    case Hinting::kNotOffered:
      return "not-offered";
    case Hinting::kNotNegotiated:
      return "not-negotiated";
    case Hinting::kOn:
      return "on";
  }
  return "unknown";
}
constexpr const char* Name(GuestRule r) {
  switch (r) {
    case GuestRule::kNever:
      return "never";
    case GuestRule::kDeny:
      return "deny";
    case GuestRule::kAllow:
      return "allow";
  }
  return "never";
}
constexpr const char* Name(Placement p) {
  return p == Placement::kReclaimed ? "reclaimed" : "standard";
}
constexpr const char* Name(Reclaim r) {
  switch (r) {
    case Reclaim::kHints:
      return "hints";
    case Reclaim::kHybrid:
      return "hybrid";
    case Reclaim::kOff:
      return "off";
  }
  return "hints";
}
constexpr const char* Name(Run r) {
  switch (r) {
    case Run::kUnknown:
      return "unknown";
    case Run::kRunning:
      return "running";
    case Run::kPaused:
      return "paused";
    case Run::kOff:
      return "off";
  }
  return "unknown";
}

}  // namespace ullage
