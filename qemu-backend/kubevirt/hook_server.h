// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node-agent/model/result.h"
#include "qemu-backend/kubevirt/domain_rewrite.h"
#include "qemu-backend/kubevirt/hook_socket.h"

namespace ullage::hooks {

struct HookServerOptions {
  std::string socket_dir;     ///< of hook sidecars (v1alpha1 to v1alpha3); empty: not served
  std::string plugin_socket;  ///< of the v1.9 domain hook; empty: not served
  RewriteOptions rewrite;
  /// A line for the log. Called from gRPC's threads, at the same time.
  std::function<void(const std::string&)> say;
  /// The launcher said Shutdown. Must return at once: its answer is still to be sent.
  std::function<void()> shut_down;
};

/// What virt-launcher calls, on unix sockets, plaintext. Keeps gRPC's headers to itself.
class HookServer {
 public:
  /// kInvalid, kExists, kUnavailable: as TakeTurn.
  static Result<std::unique_ptr<HookServer>> Start(const HookServerOptions& options);

  HookServer(const HookServer&) = delete;
  HookServer& operator=(const HookServer&) = delete;
  /// Stops.
  ~HookServer();

  /// Where it listens.
  const std::vector<std::string>& sockets() const { return sockets_; }

  /// Ends every call within 2 s and removes the sockets. Idempotent.
  void Stop();

 private:
  class Endpoint;
  HookServer();
  Status Listen(const Result<SocketTurn>& turn, const HookServerOptions& options, bool plugin);

  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::vector<std::string> sockets_;
};

}  // namespace ullage::hooks
