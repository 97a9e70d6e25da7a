// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"

namespace ullage::actuators {

/// Switches free page reporting on for one VM. QEMU fixes the property when the device is made, so
/// what changes is the domain's persistent configuration: it takes effect at the next start.
/// Implemented by qemu-backend.
class HintSwitch {
 public:
  HintSwitch() = default;
  HintSwitch(const HintSwitch&) = delete;
  HintSwitch& operator=(const HintSwitch&) = delete;
  virtual ~HintSwitch() = default;

  /// Enqueues and returns at once; the effect shows in a later QemuFacts.hinting.at_next_start.
  /// kNotFound: no such VM; kUnavailable: its worker is stuck, kExists: already queued.
  virtual Status SwitchOn(const VmId& vm) = 0;
};

}  // namespace ullage::actuators
