// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/model/plan.h"
#include "node-agent/model/result.h"

namespace ullage::agent {

/// For how long what an agent left is worth anything: as long as a new image takes to be pulled,
/// and no longer than a Node is believed without its API server.
inline constexpr seconds kInheritedFor{300};

/// Writes down what the next agent of this boot may take up: C, and since when each VM is watched.
/// Nothing, where the last tick knew too little to promise anything.
Status LeaveCarried(const std::string& file, const std::string& boot_id, const Report& last);

/// What an agent left, once: the file is removed. Absent: there is none, or it is of another boot
/// or too old. kInvalid: it makes no sense; kDenied and the like: it cannot be read or removed.
Result<std::optional<Inherited>> TakeCarried(const std::string& file, const std::string& boot_id,
                                             BootTime now);

}  // namespace ullage::agent
