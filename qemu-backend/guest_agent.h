// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "node-agent/model/guest_module.h"
#include "node-agent/model/result.h"

namespace ullage::qemu {

/// A longer reply is refused unread: 4 KiB of a file are 5.4 KiB in base64.
inline constexpr std::size_t kGuestReplyLimit = std::size_t{16} << 10;
/// Replies are two objects deep.
inline constexpr int kGuestReplyDepth = 4;
/// Of one file in the guest: what sysfs gives at most.
inline constexpr std::size_t kGuestFileLimit = 4096;
/// Of one counter's name, and of how many counters are kept.
inline constexpr std::size_t kGuestNameLimit = 48;
inline constexpr std::size_t kGuestCounters = 96;

// Questions to qemu-ga (its QAPI schema: guest-file-open, -read, -write, -close). `guest-exec`
// would be one question instead of three; many distributions forbid it.

/// `mode` as fopen's: "r" or "w".
std::string AskOpen(std::string_view path, const char* mode);
/// One byte more than what is accepted, so that the reply shows whether there is more.
std::string AskRead(std::int64_t handle);
std::string AskWrite(std::int64_t handle, std::string_view content);
std::string AskClose(std::int64_t handle);

// Replies. The guest's own words: it may send anything. kInvalid: no reply to that question;
// kInternal: the agent's error, made printable.

Result<std::int64_t> ParseHandle(std::string_view reply);
/// The content of a whole file. kInvalid also when it is longer than kGuestFileLimit.
Result<std::string> ParseContent(std::string_view reply);
/// How much of `AskWrite` was taken.
Result<std::int64_t> ParseCount(std::string_view reply);
Status ParseEmpty(std::string_view reply);

/// The driver's summary: a line "name value" for each counter. Lines that are none are left out
/// and added to `refused`. kInvalid: there is not a single counter in it.
Result<GuestModule> ParseSummary(std::string_view text, std::uint64_t& refused);

}  // namespace ullage::qemu
