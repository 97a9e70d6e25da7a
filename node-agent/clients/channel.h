// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::clients {

/// The agent behind one socket. Every call has a deadline. Keeps gRPC's headers, which compile
/// slowly, to one file.
///
/// Errors: kUnavailable (nobody answers, or nothing was seen yet) and kDenied say in their message
/// what to do; kNotFound and kInvalid are the agent's own words.
class AgentClient {
 public:
  explicit AgentClient(std::string socket);
  AgentClient(const AgentClient&) = delete;
  AgentClient& operator=(const AgentClient&) = delete;
  ~AgentClient();

  /// Whether somebody accepts connections, by one connect(): cheap enough to ask repeatedly.
  Status Reachable() const;

  Result<v1::Snapshot> GetSnapshot(milliseconds deadline);
  /// `at`: a past moment; absent: now.
  Result<v1::Explanation> Explain(const std::string& vm, std::optional<WallTime> at,
                                  milliseconds deadline);
  Result<v1::History> GetHistory(seconds horizon, milliseconds deadline);
  Result<v1::ReserveResponse> Reserve(const v1::ReserveRequest& request, milliseconds deadline);
  Result<v1::ReleaseResponse> Release(const std::string& uuid, milliseconds deadline);

  /// Hands over each new snapshot until `each` returns false or Cancel() is called: both are no
  /// error. Has no deadline; the agent's end is kUnavailable.
  Status Watch(const std::function<bool(const v1::Snapshot&)>& each);
  /// From any thread; ends the running Watch and every later one.
  void Cancel();

  const std::string& socket() const { return socket_; }

 private:
  struct Connection;
  Connection& connection();

  const std::string socket_;
  std::unique_ptr<Connection> connection_;
};

/// Silences gRPC's own log, which would stand among what people read. Before any other call.
void QuietGrpc();

}  // namespace ullage::clients
