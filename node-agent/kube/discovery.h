// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>
#include <string>

#include "node-agent/kube/client.h"

namespace ullage::kube {

/// Which version of policy's Eviction a pod's eviction takes: "policy/v1" (Kubernetes ≥ 1.22) or
/// "policy/v1beta1". Asked of the pods and not of the group: 1.21 has the group policy/v1 and takes
/// only v1beta1 here. kNotFound: this server evicts nothing.
Result<std::string> EvictionVersion(const Client& client, const std::stop_token& stop = {});

/// Is there such a kind at all? False where its CRD is not installed, or not in that version.
Result<bool> Serves(const Client& client, const Resource& resource,
                    const std::stop_token& stop = {});

}  // namespace ullage::kube
