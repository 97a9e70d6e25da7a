// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/snapshot.h"
#include "node-agent/model/time.h"

namespace ullage {

/// How long a charge may stand above what the guest says it uses before its host is found out.
inline constexpr seconds kDiscardPatience{600};
/// What has to be missing: too little to tell from QEMU's own memory is nothing.
inline constexpr Bytes kDiscardLeast = Bytes::MiB(256);

/// A host can take a guest's hints, show both halves of the proof, and discard nothing: a device is
/// passed through, or memory is locked by somebody whom the domain does not tell of. The charge is
/// the last word. `now` is watched on from `before`, the same VM one tick earlier (null: none). The
/// watch runs while hinting is on, the guest says that at least a quarter of its memory is free,
/// and at least seven eighths of that are still charged. It starts anew with each epoch and cgroup,
/// and when the charge falls by a sixteenth of the guest, for then something is given back.
/// The guest's word is untrusted; a lie here makes its VM count in full, never for less.
std::optional<KeptWatch> WatchKept(const VmState* before, const VmState& now, BootTime at);

/// Why the VM is exempt by that watch; empty: it is not, or not yet.
std::string WhyKept(const std::optional<KeptWatch>& watch, BootTime at);

}  // namespace ullage
