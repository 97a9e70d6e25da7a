// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"
#include "ullage/hooks/vmi.pb.h"

namespace ullage::api {

/// A longer object is refused unread. etcd takes 1.5 MiB.
inline constexpr std::size_t kVmiLimit = std::size_t{2} << 20;

/// A VMI as KubeVirt's hooks pass it: JSON, of which vmi.proto says what we use. Hostile input is
/// expected: bounded in length, and in depth by protobuf (100 levels).
/// kInvalid: no such JSON, or it names nobody: name, namespace and UID have to be Kubernetes' own
/// (RFC 1123 names; at most 64 letters, digits and dashes), so that they may be shown and compared.
Result<hooks::Vmi> ParseVmi(std::string_view json);

/// "namespace/name".
std::string Name(const hooks::Vmi& vmi);

}  // namespace ullage::api
