// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// Bounds of what a caller may ask for; beyond them it is a mistake or an attack.
inline constexpr Bytes kMaxGuestMemory = Bytes::GiB(std::int64_t{64} * 1024);
inline constexpr std::uint32_t kMaxVcpus = 4096;
inline constexpr std::size_t kMaxNameBytes = 4096;

/// The canonical form: 8-4-4-4-12 hex digits, lower case, so that one VM is one ledger entry
/// however its caller spells it.
Result<VmId> ParseUuid(std::string_view text);

/// The promise that a caller asks for; its name is made printable. kInvalid says what is wrong in
/// words for the person who typed `virsh start`.
Result<VmSpec> ParseReserve(const v1::ReserveRequest& request);

}  // namespace ullage::publishers
