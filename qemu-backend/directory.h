// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "node-agent/actuators/balloon_setter.h"
#include "node-agent/actuators/guest_writer.h"
#include "node-agent/actuators/hint_switch.h"
#include "node-agent/host/clock.h"
#include "node-agent/sources/qemu_directory.h"
#include "qemu-backend/worker.h"

namespace ullage::qemu {

/// The VMs of one hypervisor. One thread lists its active domains, one thread a domain keeps that
/// QEMU's facts; whoever of them waits, waits alone.
///
/// Unknown is never zero: a VM whose definition cannot be read counts with Bytes::Max() of guest
/// memory, one that does not answer has no proof and no guest figures, and a list that cannot be
/// renewed stays, with its age and the reason.
class LibvirtDirectory final : public sources::QemuDirectory,
                               public actuators::HintSwitch,
                               public actuators::GuestWriter,
                               public actuators::BalloonSetter {
 public:
  /// Returns at once. That libvirt is down is no error: `Latest` says so, and it keeps trying.
  /// `clock` outlives the directory.
  static std::unique_ptr<LibvirtDirectory> Start(const LibvirtOptions& options,
                                                 const host::Clock& clock);
  static std::unique_ptr<LibvirtDirectory> Start(const LibvirtOptions& options,
                                                 std::shared_ptr<Hypervisor> hypervisor,
                                                 const host::Clock& clock);
  /// Waits a deadline for each thread's last answer, at most, and leaves behind who has none.
  ~LibvirtDirectory() override;

  sources::QemuListing Latest() const override;
  Status SwitchOn(const VmId& vm) override;
  Status Write(const VmId& vm, const std::string& parameter, const std::string& value) override;
  Status SetBalloon(const VmId& vm, Bytes left) override;
  DirectoryCounters Counters() const;

 private:
  struct State;
  explicit LibvirtDirectory(std::shared_ptr<State> state);

  const std::shared_ptr<State> state_;
};

}  // namespace ullage::qemu
