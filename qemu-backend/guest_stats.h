// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "node-agent/model/time.h"
#include "node-agent/model/vm.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// A guest's figures that are older than this are no longer its word.
inline constexpr seconds kGuestStatsAge{60};

/// The report in the model's terms. The guest is hostile: a figure beyond `guest_memory` counts as
/// `guest_memory`, one that fits no Bytes is absent; either adds one to `implausible`. Figures of a
/// guest that never reported, not since `since` (its last reset) or not for kGuestStatsAge, are
/// absent.
GuestStats ReadGuestStats(const BalloonReport& report, Bytes guest_memory, WallTime since,
                          WallTime now, std::uint64_t& implausible);

}  // namespace ullage::qemu
