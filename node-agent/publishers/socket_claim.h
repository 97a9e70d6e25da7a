// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"

namespace ullage::publishers {

/// The right to listen on one path, held against a second agent by a lock on "<path>.lock".
///
/// gRPC unlinks whatever is at the path it binds, and its socket is open to all until somebody
/// changes its mode. So it binds `staging_path()`, in a folder that only we can enter; `Publish`
/// sets 0600 and renames the socket into place: it never exists there with a wider mode, and
/// nothing of somebody else's is removed.
class SocketClaim {
 public:
  /// kInvalid: the path cannot be a socket's. kExists: "another agent answers on …", or what is
  /// there is no socket; it is left alone. A stale socket stays until Publish replaces it.
  static Result<SocketClaim> Take(const std::string& path);

  SocketClaim(SocketClaim&& other) noexcept;
  SocketClaim& operator=(SocketClaim&&) = delete;
  SocketClaim(const SocketClaim&) = delete;
  SocketClaim& operator=(const SocketClaim&) = delete;
  /// Removes the socket if it is still ours, and what was staged.
  ~SocketClaim();

  const std::string& staging_path() const { return staged_; }
  /// To be called when something listens on staging_path().
  Status Publish();

 private:
  SocketClaim(std::string path, std::string folder, host::Fd lock);

  std::string path_;
  std::string folder_;  // of the staged socket; empty after a move
  std::string staged_;
  host::Fd lock_;
  dev_t device_ = 0;  // of the published socket
  ino_t inode_ = 0;   // 0: not published
};

}  // namespace ullage::publishers
