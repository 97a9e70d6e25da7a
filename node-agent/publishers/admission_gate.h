// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/sample.h"
#include "node-agent/model/verdict.h"

namespace ullage::publishers {

using Verdict = ullage::Verdict;

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
