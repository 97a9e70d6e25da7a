// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"

namespace ullage::clients {

/// Copies `program` to `hooks_dir`/qemu, or to `hooks_dir`/qemu.d/ullage where another hook is
/// installed already; replaces an older copy of itself and nothing else. A copy, because libvirtd's
/// AppArmor profile lets it run what lies in its hooks folder and not what a link points at.
/// The value says what was done and what is left to do. kExists: both places hold somebody else's.
Result<std::string> InstallHook(const std::string& program, const std::string& hooks_dir);

/// Removes our copies from both places, and nothing else.
Result<std::string> UninstallHook(const std::string& hooks_dir);

}  // namespace ullage::clients
