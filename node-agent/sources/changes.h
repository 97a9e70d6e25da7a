// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "node-agent/model/sample.h"

namespace ullage::sources {

/// What was changed in guests' drivers and not put back; implemented by agent/.
class ChangeSource {
 public:
  ChangeSource() = default;
  ChangeSource(const ChangeSource&) = delete;
  ChangeSource& operator=(const ChangeSource&) = delete;
  virtual ~ChangeSource() = default;
  virtual std::vector<GuestChange> Changes() const = 0;
};

}  // namespace ullage::sources
