// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace ullage::clients {

/// How the hook reaches the agent. From hook.conf, then the environment.
struct HookOptions {
  std::string socket;
  /// How long a start waits for an agent that does not answer, so that its restart is survived.
  milliseconds wait{10000};
};

/// `key = value` lines (socket, wait in seconds), # comments. An absent file is no error.
/// ULLAGE_SOCKET and ULLAGE_HOOK_WAIT win over it. kInvalid names the line.
Result<HookOptions> ReadHookOptions(const std::string& config_path);

/// One call by libvirt: `qemu OBJECT OPERATION SUB EXTRA`, the domain's XML on `input`.
struct HookCall {
  std::string object;  ///< the domain's name, any bytes
  std::string operation;
  std::string sub_operation;
  int input = 0;
  std::string program = "this hook";  ///< its own path, for advice
};

/// Answers libvirt: 0 lets it go on, 1 refuses the start, and `err` says why to whoever typed it.
/// Writes nothing to standard output (libvirt would take that for a new XML) and never asks
/// libvirt anything (it holds the domain while we run).
///
/// `prepare begin` reserves; `release end` releases and `reconnect begin` counts, both without
/// ever failing; everything else is none of our business.
int RunHook(const HookCall& call, const Result<HookOptions>& options, std::ostream& err);

}  // namespace ullage::clients
