// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "node-agent/model/time.h"

namespace ullage::kube {

/// Waiting, injected: a test does not wait.
class Pause {
 public:
  Pause() = default;
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  virtual ~Pause() = default;
  /// False: `stop` was requested, before or meanwhile.
  virtual bool For(milliseconds rest, const std::stop_token& stop) = 0;
};

class RealPause final : public Pause {
 public:
  bool For(milliseconds rest, const std::stop_token& stop) override;
};

}  // namespace ullage::kube
