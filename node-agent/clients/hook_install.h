// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"

namespace ullage::clients {

/// Copies `program` to `hooks_dir`/ullage-libvirt-hook and writes a script that runs it to
/// `hooks_dir`/qemu, or to `hooks_dir`/qemu.d/ullage where another hook is installed already;
/// replaces older ones of its own and nothing else. The script passes a failure on only where a
/// failure refuses a start (`prepare`). A copy, because libvirtd's AppArmor profile lets it run
/// what lies in its hooks folder and not what a link points at. The value says what was done and
/// what is left to do. kExists: a place holds somebody else's.
Result<std::string> InstallHook(const std::string& program, const std::string& hooks_dir);

/// Removes our scripts and our copy, and nothing else.
Result<std::string> UninstallHook(const std::string& hooks_dir);

}  // namespace ullage::clients
