// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "node-agent/publishers/node_hook_listener.h"

namespace ullage::publishers {

/// Where virt-handler, in its own container, can see a plugin's socket.
inline constexpr const char* kNodeHookSocket = "/var/run/kubevirt/plugins/ullage.sock";

struct NodeHookServerOptions {
  std::string socket = kNodeHookSocket;           ///< absolute path, at most 107 bytes
  std::function<void(const std::string&)> say{};  ///< what was wrong with a call; from any thread
  milliseconds stop_patience{1000};               ///< calls still running after this are cancelled
};

struct NodeHookCounts {
  std::array<std::uint64_t, kNodeHookPoints.size()> calls{};  ///< in the order of kNodeHookPoints
  std::uint64_t unknown_points = 0;   ///< accepted: a newer KubeVirt has more
  std::uint64_t unreadable_vmis = 0;  ///< accepted as well
};

/// KubeVirt's `NodeHookService` on a unix socket (0600; virt-handler is root).
///
/// Every call is answered with OK: where a Plugin lacks `failureStrategy: Ignore`, an error here
/// would keep a VM from starting, and what was missed is found at the next tick all the same.
class NodeHookServer {
 public:
  /// Takes the socket and serves; `listener` must outlive the server.
  /// kExists: a live agent, or something that is no socket, holds the path.
  static Result<std::unique_ptr<NodeHookServer>> Start(const NodeHookServerOptions& options,
                                                       NodeHookListener& listener);

  NodeHookServer(const NodeHookServer&) = delete;
  NodeHookServer& operator=(const NodeHookServer&) = delete;
  /// Stops.
  ~NodeHookServer();

  NodeHookCounts Counts() const;

  /// Ends every call within the patience, removes the socket if it is still ours. Idempotent.
  void Stop();

 private:
  class Service;
  struct Parts;
  explicit NodeHookServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace ullage::publishers
