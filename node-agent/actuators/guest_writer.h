// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"

namespace ullage::actuators {

/// Sets a parameter of our driver in a guest, through the guest's agent. Implemented by
/// qemu-backend.
class GuestWriter {
 public:
  GuestWriter() = default;
  GuestWriter(const GuestWriter&) = delete;
  GuestWriter& operator=(const GuestWriter&) = delete;
  virtual ~GuestWriter() = default;

  /// Enqueues and returns at once; the effect shows in a later QemuFacts.module. `parameter` and
  /// `value` are a GuestParameter's. kNotFound: no such VM; kUnavailable: its agent does not
  /// answer now.
  virtual Status Write(const VmId& vm, const std::string& parameter, const std::string& value) = 0;
};

}  // namespace ullage::actuators
