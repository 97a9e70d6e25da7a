// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>

#include "node-agent/host/clock.h"
#include "node-agent/model/result.h"
#include "node-agent/publishers/bulletin.h"

namespace ullage::publishers {

struct HttpOptions {
  std::string address = "127.0.0.1:9797";  ///< "ADDRESS:PORT"; port 0 takes any free one
  milliseconds period{1000};               ///< of the tick: ready while the last is ≤ 3 of it old
};

/// /metrics, /healthz, /readyz, and at / a page for people that only this machine may read; so are
/// the metrics while the address is this machine's alone.
/// GET and HEAD only; two worker threads.
class HttpServer {
 public:
  /// Everything passed must outlive the server.
  /// kInvalid: the address makes no sense; kExists: somebody else listens there.
  static Result<std::unique_ptr<HttpServer>> Start(const HttpOptions& options,
                                                   const Bulletin& bulletin,
                                                   const prometheus::Collectable& metrics,
                                                   const host::Clock& clock);

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  /// The port it listens on.
  int port() const;

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace ullage::publishers
