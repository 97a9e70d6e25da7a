// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// libvirt at `uri`. Nothing is opened before the first question. Each QEMU gets a connection of
/// its own: libvirtd takes 5 calls at a time from a client, and those of a hung QEMU stay.
std::shared_ptr<Hypervisor> ConnectLibvirt(const std::string& uri);

/// Is libvirt there? For `--check-config` and a plain message at the start; nothing is kept.
/// kUnavailable, kDenied, kDeadline: it takes the connection and says nothing.
Status ProbeLibvirt(const std::string& uri, milliseconds deadline);

}  // namespace ullage::qemu
