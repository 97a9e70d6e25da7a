// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage {

/// How far the way into a guest goes, through QEMU's guest agent in it.
enum class GuestAgent {
  kUnknown,
  kDenied,        ///< neither the owner nor the configuration allows it: nothing is asked
  kNoChannel,     ///< the domain has no channel for an agent
  kNotConnected,  ///< it has, and no agent is at its end
  kSilent,        ///< the agent does not answer in time
  kNoModule,      ///< it answers; our driver's counters could not be read
  kReads,         ///< it answers, and the driver's counters were read
};

constexpr const char* Name(GuestAgent state) {
  switch (state) {
    case GuestAgent::kUnknown:
      return "unknown";
    case GuestAgent::kDenied:
      return "denied";
    case GuestAgent::kNoChannel:
      return "no-channel";
    case GuestAgent::kNotConnected:
      return "not-connected";
    case GuestAgent::kSilent:
      return "silent";
    case GuestAgent::kNoModule:
      return "no-module";
    case GuestAgent::kReads:
      return "reads";
  }
  return "unknown";
}

/// What our driver in the guest says of itself. The guest's own words, like GuestStats: shown, and
/// never able to raise the published capacity. Absent is not zero: another version of the driver
/// may not have that counter.
struct GuestModule {
  std::optional<bool> reporting;
  std::optional<Bytes> reported;  ///< shown to the host since the driver was bound
  std::optional<std::uint64_t> report_errors;
  std::optional<Bytes> balloon;                ///< in the balloon now
  std::map<std::string, std::uint64_t> other;  ///< every other counter, bounded
  /// Parameters that the agent was told to look at, in their canonical form.
  std::map<std::string, std::string> parameters;
  /// What this agent set, and saw set, since this load of the driver.
  std::map<std::string, std::string> written;
  BootTime read_at{};
};

/// A parameter of the driver that may be set from the host. Which ones, and how far, is decided
/// here: the guest's driver bounds them once more. A test compares them with the driver's README.
struct GuestParameter {
  std::string_view name;
  bool flag;  ///< Y or N; else a number
  std::uint64_t least, most;
};

inline constexpr std::array kGuestParameters{
    GuestParameter{"reporting", true, 0, 1},
    GuestParameter{"early_start", true, 0, 1},
    GuestParameter{"settle_ms", false, 0, 2000},
    GuestParameter{"pass_delay_ms", false, 0, 10000},
    GuestParameter{"cpu_permille", false, 0, 1000},
    GuestParameter{"fault_us", false, 0, 100000},
    GuestParameter{"backoff", true, 0, 1},
    GuestParameter{"reuse_backoff", true, 0, 1},
    GuestParameter{"batch_mib", false, 0, 1024},
    GuestParameter{"host_page_kib", false, 4, 1 << 20},
    GuestParameter{"rate_mib_s", false, 0, 1 << 20},
    GuestParameter{"order", false, 1, 10},
    GuestParameter{"floor_mib", false, 0, 1 << 20},
    GuestParameter{"fast_balloon", true, 0, 1},
    GuestParameter{"reserve_mib", false, 0, 256},
    GuestParameter{"oom_wait_ms", false, 0, 10000},
    GuestParameter{"compact_mib", false, 0, 1 << 20},
    GuestParameter{"cache_trim", false, 0, 2},
    GuestParameter{"stop_wait_ms", false, 1000, 60000},
};

constexpr const GuestParameter* FindGuestParameter(std::string_view name) {
  for (const GuestParameter& parameter : kGuestParameters) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

/// `text` as the driver shows that value: "Y", "N", a number without anything around it. Absent
/// when it is none, or out of bounds.
inline std::optional<std::string> Canonical(const GuestParameter& parameter,
                                            std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (parameter.flag) {
    for (const std::string_view yes : {"Y", "y", "1", "true", "on"}) {
      if (text == yes) return "Y";
    }
    for (const std::string_view no : {"N", "n", "0", "false", "off"}) {
      if (text == no) return "N";
    }
    return std::nullopt;
  }
  constexpr std::size_t kMostDigits = 10;
  if (text.empty() || text.size() > kMostDigits) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value < parameter.least || value > parameter.most) return std::nullopt;
  return std::to_string(value);
}

}  // namespace ullage
