// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/host/file.h"

namespace ullage::host {

/// Opens `path` as if the folder `root` were "/": a symlink, an absolute one too, and ".." stay
/// below it, whoever planted them, and a magic link (such as those in /proc/PID/fd) is refused.
/// Below /proc/PID/root this is the only way: an image decides there what names mean, and opened
/// plainly its /var/run → /run leads into this process's own /run.
/// `flags`: those of open(2) that make no file; O_CLOEXEC is added. O_PATH opens what may block or
/// do something when it is opened: sockets, FIFOs, devices.
/// kGone: nothing is there. kInvalid: a magic link or a loop of links stands in the way.
/// kUnavailable: no openat2 here (the message says why), or names changed too fast. There is no
/// second way: without openat2 nothing is opened.
/// Source: openat2(2), Linux 5.6.
Result<Fd> OpenInRoot(const Fd& root, const std::string& path, int flags);

}  // namespace ullage::host
