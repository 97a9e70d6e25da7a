// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "node-agent/kube/credentials.h"
#include "node-agent/kube/http.h"

namespace ullage::kube {

/// The Transport over cpprestsdk: HTTP/1.1 with kept connections, TLS ≥ 1.2 that trusts the
/// cluster's CA and nothing else, no redirects, no proxy. The library runs on four threads for the
/// whole process, started with the first transport.
///
/// Trusted to some degree is an API server that has proven itself: the library bounds neither the
/// headers nor one chunk of an answer. Bodies are bounded by who receives them.
///
/// kInvalid: the address makes no sense.
Result<std::shared_ptr<Transport>> MakeTransport(const Access& access);

}  // namespace ullage::kube
