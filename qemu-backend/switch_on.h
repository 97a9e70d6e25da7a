// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// Writes free page reporting into the persistent definition of domain `uuid`, unless it is there.
/// Returns whether the definition, read again, has it. Blocks: libvirt may look at QEMU's binary
/// anew before it takes a definition, which takes many seconds on a busy machine.
/// kNotFound: the domain is transient or has no virtio balloon; else as the calls of Qemu.
Result<bool> SwitchReportingOn(Qemu& qemu, const std::string& uuid);

}  // namespace ullage::qemu
