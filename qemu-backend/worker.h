// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/host/file.h"
#include "node-agent/model/directory_counters.h"
#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"
#include "qemu-backend/backoff.h"
#include "qemu-backend/domain_xml.h"
#include "qemu-backend/guest_link.h"
#include "qemu-backend/inquiry.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

struct LibvirtOptions {
  std::string uri = "qemu:///system";
  std::string run_dir = "/run/libvirt/qemu";  ///< of libvirt: where it keeps <name>.pid
  milliseconds deadline{2000};                ///< a question open for longer makes its VM stalled
  milliseconds list_period{5000};             ///< between two lists; events come on top
  milliseconds refresh{2000};                 ///< between two readings of state and balloon
  milliseconds proof_period{10000};           ///< between two looks at definitions, pid and hinting
  bool state_by_event = false;    ///< ask for the state only when an event or a proof calls for it
  milliseconds retry{500};        ///< the first rest after a failure; doubles …
  milliseconds retry_cap{10000};  ///< … up to this
  milliseconds least_rest{100};   ///< between two looks at a VM, however many events come
  GuestRule guest_rule = GuestRule::kDeny;
  milliseconds guest_read_every{10000};         ///< between two readings of a driver's counters
  std::vector<std::string> guest_parameters{};  ///< … and of these parameters of it
  host::Roots roots;
};

/// What all threads of a directory share, of LauncherDirectory those of one VM; it lives for as
/// long as the last of them, but for the clock (see Inquiry).
struct Common {
  Common(LibvirtOptions with, std::shared_ptr<Hypervisor> above, const host::Clock& time)
      : options(std::move(with)),
        hypervisor(std::move(above)),
        clock(time),
        lister(time, options.deadline),
        guest_rule(options.guest_rule) {}

  const LibvirtOptions options;
  const std::shared_ptr<Hypervisor> hypervisor;
  const host::Clock& clock;
  Inquiry lister;
  std::atomic<GuestRule> guest_rule;
  /// Who knows a QEMU's process; empty: libvirt's pid file does. Set before the first worker.
  std::function<Result<std::int32_t>()> process;
  std::atomic<std::uint64_t> epochs{0};
  struct {
    std::atomic<std::uint64_t> questions{0}, failures{0}, late{0}, connections{0}, resets{0},
        implausible{0}, guest_questions{0}, guest_failures{0}, guest_late{0}, guest_refused{0};
  } tally;
};

DirectoryCounters Count(const Common& common);

/// Keeps the facts of one QEMU, on a thread of its own: it alone waits when that QEMU hangs.
class Worker : public std::enable_shared_from_this<Worker> {
 public:
  /// `first`: the live XML's content as the lister found it. Absent: unreadable, so the promise
  /// counts as the greatest there is until it can be read.
  static std::shared_ptr<Worker> Start(std::shared_ptr<Common> common, const DomainRef& domain,
                                       const Result<DomainFacts>& first);
  Worker(std::shared_ptr<Common> common, const DomainRef& domain, const Result<DomainFacts>& first);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const DomainRef& domain() const { return domain_; }
  /// Never blocks for longer than a copy takes. While a question is overdue, nothing that only an
  /// answer could confirm is in it.
  QemuFacts Latest(BootTime now) const;
  void OnEvent(Event::Kind kind);
  /// As HintSwitch::SwitchOn. kUnavailable, kExists; kExhausted: no thread for it.
  Status QueueSwitch(BootTime now);
  /// As GuestWriter::Write.
  Status QueueWrite(const std::string& parameter, const std::string& value, BootTime now) {
    return guest_->QueueWrite(parameter, value, now);
  }
  /// As BalloonSetter::SetBalloon.
  Status QueueBalloon(Bytes left, BootTime now);
  void Stop() {
    inquiry_.Stop();
    guest_->Stop();
  }
  bool AwaitExit(milliseconds patience) { return inquiry_.AwaitExit(patience); }
  bool AwaitGuestExit(milliseconds patience) { return guest_->AwaitExit(patience); }
  bool Dead() const;

 private:
  // Each has its own standing fault: a pid that cannot be read is no reason to forget that the
  // proof failed as well.
  enum Part { kConnection, kDefinition, kProcess, kProof, kStatistics, kSwitch, kBalloon, kParts };

  void Run();
  bool Round();
  bool EnsureOpen();
  bool Prove();
  bool ReadDefinitions();
  bool ReadProcess();
  bool ProveHinting();
  bool SetBalloon();
  bool Refresh(bool prove);
  void Switch();

  template <typename F>
  std::invoke_result_t<F> Ask(const char* what, F&& question);
  Result<std::string> Query(const char* what, const Result<std::string>& command);
  bool Carry(Part part, const Error& error);
  bool Note(Part part, const Error& error);
  void Answered();
  void BeginEpochLocked();

  const std::shared_ptr<Common> common_;
  const DomainRef domain_;
  Inquiry inquiry_;
  const std::shared_ptr<GuestLink> guest_;  // its mutex may be taken with ours held

  // Below: guarded by inquiry_.mutex().
  QemuFacts facts_;
  std::array<std::string, kParts> faults_;
  bool poked_ = true;   // something happened: prove anew
  bool reset_ = false;  // … and what the guest said before is void
  bool switching_ = false;
  std::optional<Bytes> balloon_wish_;

  // Below: the thread's own.
  std::unique_ptr<Qemu> qemu_;
  Backoff backoff_;
  DomainReader live_, persistent_;
  BalloonDevice balloon_;
  Bytes guest_memory_;
  BootTime proof_due_{};
  BootTime eager_until_{};
  WallTime reset_at_{};
  std::optional<std::int32_t> pid_;
};

}  // namespace ullage::qemu
