// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/bytes.h"
#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"

namespace ullage::actuators {

/// Moves the balloon of a running VM. Implemented by qemu-backend.
class BalloonSetter {
 public:
  BalloonSetter() = default;
  BalloonSetter(const BalloonSetter&) = delete;
  BalloonSetter& operator=(const BalloonSetter&) = delete;
  virtual ~BalloonSetter() = default;

  /// Enqueues and returns at once; a wish that is not yet passed on is replaced. `left`: what the
  /// guest is to keep, never more than its memory; for as long as this QEMU runs, so a guest that
  /// reboots finds the same. How far the guest followed shows in a later QemuFacts.guest.balloon.
  /// kNotFound: no such VM, or no balloon; kUnavailable: it does not answer, or is leaving.
  virtual Status SetBalloon(const VmId& vm, Bytes left) = 0;
};

}  // namespace ullage::actuators
