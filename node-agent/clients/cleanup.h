// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "node-agent/kube/client.h"
#include "node-agent/model/time.h"

namespace ullage::clients {

struct CleanupOptions {
  bool only_look = false;  ///< changes and waits for nothing, says who holds some
  std::string name_space;  ///< of `after_pods`
  std::string after_pods;  ///< label selector; waits until no running pod fits; empty: does not
  milliseconds patience{120'000};  ///< for them
};

/// What is left behind; the rest is gone.
struct Leftovers {
  int held = 0;    ///< nodes that keep the resource because pods stand on it
  int failed = 0;  ///< nodes and NodeReclaims that the API server did not let go
  bool none() const { return held == 0 && failed == 0; }
};

/// Takes what Ullage published from a cluster: ullage.io/reclaimable-memory from every node, and
/// all NodeReclaims. Neither the kubelet nor a reboot removes an extended resource, so it would
/// outlive the agents. A node whose pods hold some of it keeps exactly that much: no further pod
/// fits, and a kubelet that restarts rejects pods that do not fit any more. `say` gets a line for
/// each thing done and for each pod that holds some. May be run again at any time. Agents that
/// still run would publish again; hence `after_pods`. An error: nothing was looked at, because pods
/// of `after_pods` still run (kDeadline) or the API server does not answer.
Result<Leftovers> CleanUp(const kube::Client& client, const CleanupOptions& options,
                          const std::function<void(const std::string&)>& say);

}  // namespace ullage::clients
