// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "node-agent/publishers/admission_gate.h"
#include "node-agent/publishers/bulletin.h"

namespace ullage::publishers {

class Recorder;

struct GrpcServerOptions {
  std::string socket;                  ///< absolute path, at most 107 bytes
  int max_watchers = 16;               ///< each WatchSnapshots holds a thread
  milliseconds stop_patience{1000};    ///< calls still running after this are cancelled
  const Recorder* recorder = nullptr;  ///< of the past, where one is kept; must outlive the server
};

/// `ullage.v1.NodeAgent` with health and reflection on a unix socket (0600). This header keeps
/// gRPC's own out of whoever wires it: they are slow to compile.
class GrpcServer {
 public:
  /// Takes the socket and serves. `bulletin` and `gate` must outlive the server; without a gate
  /// Reserve and Release answer FAILED_PRECONDITION.
  /// kExists: a live agent, or something that is no socket, holds the path.
  static Result<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                   const Bulletin& bulletin, AdmissionGate* gate);

  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;
  /// Stops.
  ~GrpcServer();

  /// Ends every call within the patience, removes the socket if it is still ours. Idempotent.
  void Stop();

 private:
  struct Parts;
  explicit GrpcServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace ullage::publishers
