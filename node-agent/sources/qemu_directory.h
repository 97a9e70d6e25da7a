// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/vm.h"

namespace ullage::sources {

/// Who runs here, by the latest word of each QEMU.
struct QemuListing {
  std::optional<BootTime> listed_at;  ///< of the last good list; absent: there was none yet
  std::string fault;                  ///< why there is no newer one, empty when it is fresh
  std::vector<QemuFacts> vms;         ///< active domains of the last good list
};

/// Implemented by qemu-backend. `Latest` never blocks: it copies what the workers last learned.
class QemuDirectory {
 public:
  QemuDirectory() = default;
  QemuDirectory(const QemuDirectory&) = delete;
  QemuDirectory& operator=(const QemuDirectory&) = delete;
  virtual ~QemuDirectory() = default;
  virtual QemuListing Latest() const = 0;
};

}  // namespace ullage::sources
