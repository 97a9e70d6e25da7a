// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/pod_hypervisor.h"

#include <utility>

namespace ullage::qemu {
namespace {

Error NotListed() { return {Code::kNotFound, "a launcher pod's libvirt is not listed"}; }

}  // namespace

Result<std::vector<DomainRef>> PodHypervisor::List() { return NotListed(); }
Result<std::string> PodHypervisor::LiveXml(const DomainRef&) { return NotListed(); }

Result<PodHypervisor::Reached> PodHypervisor::Reach(const std::string& domain,
                                                    const std::shared_ptr<const EventSink>& sink) {
  auto launcher = ways_.find(pod_, patience_);
  if (!launcher) return launcher.error();
  const auto socket = ways_.socket(*launcher);
  if (!socket) return socket.error();
  auto qemu = ways_.open(socket->uri, domain, sink);
  if (!qemu) return qemu.error().In("launcher pod " + pod_.uid);
  // The socket was found by way of this QEMU's root folder: while it runs, it was that folder.
  if (const Status runs = launcher->qemu.Runs(); !runs) return runs.error();
  return Reached{*std::move(launcher), *std::move(qemu)};
}

Result<std::unique_ptr<Qemu>> PodHypervisor::Open(const DomainRef& domain) {
  auto reached = Reach(domain.name, sink_);
  const std::lock_guard lock(mutex_);
  now_ = reached.ok();
  if (!reached) return reached.error();
  memory_cgroup_ = std::move(reached->launcher.memory_cgroup);
  process_ = std::make_shared<const host::Process>(std::move(reached->launcher.qemu));
  return std::move(reached->qemu);
}

Result<std::unique_ptr<Qemu>> PodHypervisor::OpenBeside(const DomainRef& domain) {
  auto reached = Reach(domain.name, nullptr);
  if (!reached) return reached.error();
  const host::Process& other = reached->launcher.qemu;
  const std::lock_guard lock(mutex_);
  if (!process_ || process_->pid() != other.pid() || process_->start() != other.start()) {
    return Error(Code::kGone, "launcher pod " + pod_.uid + ": another QEMU runs by now");
  }
  return std::move(reached->qemu);
}

PodHypervisor::Found PodHypervisor::Latest() const {
  const std::lock_guard lock(mutex_);
  return {now_, memory_cgroup_};
}

Result<std::int32_t> PodHypervisor::Process() const {
  std::shared_ptr<const host::Process> process;
  {
    const std::lock_guard lock(mutex_);
    process = process_;
  }
  if (process == nullptr) return Error(Code::kGone, "no QEMU was found yet");
  if (const Status runs = process->Runs(); !runs) return runs.error();
  return process->pid();
}

}  // namespace ullage::qemu
