// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

#include "node-agent/model/result.h"

namespace ullage::qemu {

/// Enough for libvirt's client and libxml2 at its depth limit, and little enough to have one
/// thread a VM.
inline constexpr std::size_t kThreadStack = std::size_t{512} << 10;

/// Runs `body` on a thread of its own that nobody joins: one that is stuck inside libvirt can be
/// left behind. All signals stay with the other threads. `name`: at most 15 characters.
/// kExhausted: no more threads.
Status Launch(const char* name, std::function<void()> body);

/// Ends the program with `status`, output flushed. Global objects are not destroyed: a thread that
/// was left behind may still be inside a library (libvirt's client, OpenSSL) whose exit handlers
/// would take away what it uses. Whoever launched threads ends `main` so.
[[noreturn]] void Leave(int status);

}  // namespace ullage::qemu
