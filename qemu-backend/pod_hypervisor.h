// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "node-agent/model/result.h"
#include "node-agent/sources/launcher.h"
#include "qemu-backend/libvirt_qemu.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// How a launcher pod is reached. The agent gives sources::FindLauncher and OpenLibvirtSocket with
/// its roots and its kubelet's folder; a test, others. A thread that is stuck in one of them can
/// outlive whoever gave it: they hold by value what they use.
struct LauncherWays {
  std::function<Result<sources::Launcher>(const sources::LauncherPod&, milliseconds patience)> find;
  std::function<Result<sources::LibvirtSocket>(const sources::Launcher&)> socket;
  std::function<Result<std::unique_ptr<Qemu>>(const std::string& uri, const std::string& domain,
                                              const std::shared_ptr<const EventSink>& sink)>
      open = OpenLauncherDomain;
};

/// The libvirt of one launcher pod, and the one QEMU that it may have. Each connection walks the
/// whole way anew, so that it always ends in the pod's own libvirt, and holds nothing of it open
/// but the connection and QEMU's folder in /proc.
class PodHypervisor final : public Hypervisor {
 public:
  /// `patience`: how long the launcher's socket may keep a knocker waiting.
  PodHypervisor(LauncherWays ways, sources::LauncherPod pod, milliseconds patience)
      : ways_(std::move(ways)), pod_(std::move(pod)), patience_(patience) {}

  /// Nobody asks them: a launcher's domain is known by its name.
  Result<std::vector<DomainRef>> List() override;
  Result<std::string> LiveXml(const DomainRef& domain) override;

  /// The domain called `domain.name`; its UUID and number are what the pod says, and not looked at.
  /// Errors: LauncherWays'. kGone: QEMU ended meanwhile.
  Result<std::unique_ptr<Qemu>> Open(const DomainRef& domain) override;
  /// kGone, too, when another QEMU runs than the one that was opened.
  Result<std::unique_ptr<Qemu>> OpenBeside(const DomainRef& domain) override;
  void SetEventSink(EventSink sink) override {
    sink_ = std::make_shared<const EventSink>(std::move(sink));
  }
  void Close() override {}

  struct Found {
    bool now = false;           ///< the last Open found all that it has to
    std::string memory_cgroup;  ///< the last that was found; it stays the pod's
  };
  Found Latest() const;
  /// The QEMU of the last good Open. kGone: none yet, or it ended.
  Result<std::int32_t> Process() const;

 private:
  struct Reached {
    sources::Launcher launcher;
    std::unique_ptr<Qemu> qemu;
  };
  Result<Reached> Reach(const std::string& domain, const std::shared_ptr<const EventSink>& sink);

  const LauncherWays ways_;
  const sources::LauncherPod pod_;
  const milliseconds patience_;
  std::shared_ptr<const EventSink> sink_;  // set before the first Open

  mutable std::mutex mutex_;  // held for moments only; guards what stands below
  bool now_ = false;
  std::string memory_cgroup_;
  std::shared_ptr<const host::Process> process_;
};

}  // namespace ullage::qemu
