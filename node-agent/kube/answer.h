// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/kube/http.h"

namespace ullage::kube {

/// What the API server said, whatever it said.
struct Answer {
  int status = 0;
  std::optional<milliseconds> retry_after{};
  std::string body{};

  bool ok() const { return status >= 200 && status < 300; }
};

/// An answer that is not ok(), as an Error that names the request and cites the server's Status:
/// "PATCH /api/v1/nodes/n1/status: 403 Forbidden: nodes \"n1\" is forbidden: …".
Error ErrorOf(const HttpRequest& request, const Answer& answer);

/// 400, 422 and other 4xx kInvalid · 401, 403 kDenied · 404 kNotFound · 408, 504 kDeadline ·
/// 409 kExists (also a conflict: somebody else holds it) · 410 kGone · 413, 507 kExhausted ·
/// 429, 502, 503 kUnavailable · the rest kInternal.
Code CodeOf(int status);

/// May the same request be sent again after such an answer? After 429 and 503, and after any 5xx
/// that says when: the server did not take it, or says itself that it may come again.
bool MayTryAgain(const Answer& answer);

}  // namespace ullage::kube
