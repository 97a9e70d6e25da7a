// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "node-agent/actuators/balloon_setter.h"
#include "node-agent/actuators/guest_writer.h"
#include "node-agent/actuators/hint_switch.h"
#include "node-agent/host/clock.h"
#include "node-agent/sources/qemu_directory.h"
#include "qemu-backend/pod_hypervisor.h"
#include "qemu-backend/worker.h"

namespace ullage::qemu {

/// A launcher pod of this node, as the API server names it, with what is promised to its VM.
struct LauncherTarget {
  sources::LauncherPod pod;
  VmSpec spec;            ///< id: the VMI's UID; guest_memory 0: the API does not say
  std::string hints_off;  ///< why KubeVirt gives it no free page reporting; empty: it does
  bool leaving = false;   ///< a migration away from this node is under way
};

/// The periods of a Kubernetes node: 250 VMs have to fit into one per cent of a core. An answer is
/// worth 30 s (PolicyParams.stale_after); what happens in between comes as an event.
LibvirtOptions LauncherDefaults();

/// The VMs of a changing set of launcher pods. Each pod has a libvirt of its own with one domain,
/// and one thread here with one connection: whoever waits, waits alone. (A second of each only
/// where the owner lets us ask the guest.) It takes about five file descriptors a VM.
///
/// The VM is the VMI of its UID, whatever the pod's libvirt calls it. What the API server says of a
/// VM is believed; libvirt, which is the pod's, may only raise the promise, and only so far. A pod
/// whose three ways do not agree (sources::FindLauncher) is shown with that fault and never acted
/// on; so is one whose launcher or QEMU is not there yet, or ended, and each is looked for anew,
/// more and more seldom.
///
/// Nothing is ever defined inside a launcher: what KubeVirt does about hinting is verified, and
/// SwitchOn says what somebody would have to change.
class LauncherDirectory final : public sources::QemuDirectory,
                                public actuators::HintSwitch,
                                public actuators::GuestWriter,
                                public actuators::BalloonSetter {
 public:
  /// `options`: uri, run_dir and list_period have no meaning here. `clock` outlives the directory.
  LauncherDirectory(const LibvirtOptions& options, LauncherWays ways, const host::Clock& clock);
  /// Waits a deadline for all threads' last answers, at most, and leaves behind who has none.
  ~LauncherDirectory() override;

  /// Which launcher pods there are now, all of them: each tick, this or KeepPods. Never blocks. A
  /// pod that is not named any more is let go; one whose UID is new is looked for at once, also
  /// where its VMI is known. Of two pods of one VMI (a migration within the node) the one that is
  /// known already stays, else the first; it has a fault.
  void SetPods(std::vector<LauncherTarget> targets);
  /// They are those of the last SetPods still.
  void KeepPods();
  /// The VM has just started, or arrived: it is looked at now. Unknown VMs are no error: the pod
  /// will come with SetPods.
  void Poke(const VmId& vm);
  /// The VM is about to stop or to leave: nothing is done to it any more, for as long as its target
  /// says `leaving`, and for two minutes in any case (a migration may be called off). It is still
  /// shown.
  void LetGo(const VmId& vm);

  /// `listed_at`: the last SetPods or KeepPods.
  sources::QemuListing Latest() const override;
  /// Never does it: kDenied, with what to change where; kNotFound.
  Status SwitchOn(const VmId& vm) override;
  /// kUnavailable, too, when it was let go or its pod is not the one it has to be.
  Status Write(const VmId& vm, const std::string& parameter, const std::string& value) override;
  /// As Write.
  Status SetBalloon(const VmId& vm, Bytes left) override;
  DirectoryCounters Counters() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace ullage::qemu
