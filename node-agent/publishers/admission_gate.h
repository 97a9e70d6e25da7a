// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/sample.h"

namespace ullage::publishers {

struct Verdict {
  bool admitted = false;
  std::string reason;
  Bytes promised;
  Bytes ordinary;
  Bytes reclaimed;
};

/// What the gRPC service asks when a VM is about to start or has ended; wired by agent/.
/// Called from gRPC's threads. Neither call may ever wait for libvirt.
class AdmissionGate {
 public:
  AdmissionGate() = default;
  AdmissionGate(const AdmissionGate&) = delete;
  AdmissionGate& operator=(const AdmissionGate&) = delete;
  virtual ~AdmissionGate() = default;

  virtual Verdict Reserve(const VmSpec& vm, bool already_running) = 0;
  /// True when there was something to release.
  virtual bool Release(const VmId& vm) = 0;
};

}  // namespace ullage::publishers
