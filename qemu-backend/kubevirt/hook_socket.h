// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"

namespace ullage::hooks {

/// The turn to bind one socket, held against the other containers of the pod by a lock on the
/// socket's folder: gRPC unlinks whatever it finds where it binds. The launcher connects to
/// everything that is in its folder, so nothing but the socket itself is ever put there.
struct SocketTurn {
  std::string path;
  host::Fd lock;  ///< to be let go once somebody listens
};

/// kInvalid: no path of a socket. kExists: a live socket, or something that is no socket; a dead
/// socket is no hindrance. kUnavailable: others hold the folder's lock for seconds.
Result<SocketTurn> TakeTurn(const std::string& path);

/// `folder`/ullage.sock: always the same name, so that a restarted sidecar is found again. Where a
/// second sidecar of ours is alive under it, the next of ullage-2.sock … ullage-9.sock: a launcher
/// waits for as many sockets as it has sidecars.
Result<SocketTurn> TakeTurnIn(const std::string& folder);

}  // namespace ullage::hooks
