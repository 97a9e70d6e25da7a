// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/bytes.h"

namespace ullage {

/// What became of a VM's wish to start.
struct Verdict {
  bool admitted = false;
  std::string reason;  ///< for the person who typed `virsh start`
  Bytes promised;      ///< L
  Bytes ordinary;      ///< of which from memory that was never promised
  Bytes reclaimed;     ///< of which from reclaimable capacity, in whole quanta
};

}  // namespace ullage
