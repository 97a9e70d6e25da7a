// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "node-agent/policy/histories.h"

namespace ullage::agent {

/// Between two writings of the histories: what a crash may lose of them.
inline constexpr seconds kHistoryEvery{300};

/// What the policy remembers, in a file that survives the agent and not the boot: a rolling upgrade
/// takes no history from a VM. The windows that are open are not in it.
class HistoryFile {
 public:
  HistoryFile(std::string file, std::string boot_id)
      : file_(std::move(file)), boot_id_(std::move(boot_id)) {}

  /// Takes up what an earlier agent of this boot left. No file, or one of another boot, is none.
  /// kInvalid: it makes no sense or its checksum is not its own; nothing of it is believed.
  Status Restore(policy::Histories& histories, BootTime now) const;

  /// Writes, if it is time for it.
  Status Keep(const policy::Histories& histories, BootTime now);
  Status Write(const policy::Histories& histories) const;

 private:
  const std::string file_;
  const std::string boot_id_;
  BootTime written_at_{};
};

}  // namespace ullage::agent
