// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace ullage::kube {

struct HttpRequest {
  std::string method;  ///< "GET"
  std::string target;  ///< path and query, percent-encoded, below the server's address
  std::string content_type{};
  std::string body{};
};

/// What comes before the body.
struct HttpHead {
  int status = 0;
  std::optional<milliseconds> retry_after{};  ///< of the header, bounded by kMaxRetryAfter
};
inline constexpr seconds kMaxRetryAfter{600};

struct HttpLimits {
  milliseconds deadline{10000};  ///< from the call to the last byte; 0: none
  milliseconds silence{0};       ///< between two pieces of the answer, head included; 0: no limit
};

/// A piece of the body, on the thread that called. The next one is not read from the network before
/// this one is taken, so a server that sends faster than we read waits. An error ends the exchange
/// with it.
using Receive = std::function<Status(const HttpHead& head, std::string_view piece)>;

/// One API server. Thread-safe.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  /// Sends, and blocks until the answer is complete, whatever its status. Errors are of the way
  /// there: kUnavailable (no connection, broken off, `stop` requested), kDeadline (a limit),
  /// kDenied (the certificate does not prove the server, or our credentials may not be read),
  /// kNotFound or kInvalid (they are missing, or none).
  virtual Result<HttpHead> Exchange(const HttpRequest& request, const HttpLimits& limits,
                                    const std::stop_token& stop, const Receive& receive) = 0;
};

}  // namespace ullage::kube
