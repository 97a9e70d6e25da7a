// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/time.h"

namespace ullage::host {

/// Where time comes from; injected, so that tests and simulations bring their own.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  virtual Moment Now() const = 0;
};

class SystemClock final : public Clock {
 public:
  Moment Now() const override;
};

}  // namespace ullage::host
