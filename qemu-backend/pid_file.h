// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// The process of a domain: libvirt writes `<run_dir>/<name>.pid`, and one argument of that process
/// has to be the domain's UUID, because a pid is reused and the file may be a dead QEMU's.
/// kInvalid: the name cannot be a file's; kNotFound, kGone: no file, no process, or another one's.
Result<std::int32_t> FindQemu(const std::string& run_dir, const host::Roots& roots,
                              const DomainRef& domain);

/// Whether libvirt's folder shows that no QEMU runs: it is not there, or has no pid file of a
/// domain. libvirt starts guests at boot before it answers anybody who would list them; this is
/// how one knows by then that nobody ran before. False when it cannot be read.
bool NobodyRuns(const std::string& run_dir);

}  // namespace ullage::qemu
