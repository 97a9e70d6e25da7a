// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "node-agent/host/file.h"
#include "node-agent/model/time.h"

namespace ullage::host {

/// The process that called listen() on a unix socket, as it was then.
struct Peer {
  std::int32_t pid = 0;  ///< in this process's pid namespace
  uid_t uid = 0;         ///< in this process's user namespace
};

/// The socket `name` of the open folder `directory`, held by its inode (O_PATH): what happens to
/// the name afterwards does not matter. The last component is never followed as a link. kInvalid
/// when it is no socket; kGone when nothing is there.
Result<Fd> OpenSocketAt(const Fd& directory, const char* name);

/// kInvalid unless `file` has a socket open; `what` is how the error names it.
Status RequireSocket(const Fd& file, std::string_view what);

/// Connects to the stream socket that `listener` holds open, asks the kernel who listens
/// (SO_PEERCRED), and hangs up: not a byte is sent, and the other side need not even accept.
/// Waits at most `patience` (1 ms or more) where the listener's queue is full.
/// kDeadline: it stayed full. kUnavailable: nobody listens. kDenied: this process may not connect,
/// or the listener is in no pid namespace that it sees: then its pid is 0, and in a pod `hostPID:
/// true` is what lacks. kInvalid: no stream socket.
/// A pid is only a number: the process may have ended and the number be another's. Whoever goes on
/// from here holds the process by its folder (host/process.h) and proves that it is the right one.
/// Source: unix(7), socket(7).
Result<Peer> PeerOf(const Roots& roots, const Fd& listener, milliseconds patience);

}  // namespace ullage::host
