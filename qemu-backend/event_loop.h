// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/result.h"

namespace ullage::qemu {

/// Gives libvirt its event loop, on a thread that stays for the process's life. Before the first
/// connection, once.
///
/// libvirt's own goes through all connections at each event of any: with 250 of them, one a VM,
/// that was three per cent of a core for 70 questions a second. Here one event costs the same
/// however many connections there are (epoll, and a sorted set of the timers that run).
/// Source: libvirt's API, virEventRegisterImpl and the types of its arguments: callbacks are called
/// without a lock held; one that is removed is not called again, and what frees its argument is
/// called by the loop, never inside the removal.
Status StartEventLoop();

}  // namespace ullage::qemu
