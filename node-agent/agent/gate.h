// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "node-agent/admission/ledger.h"
#include "node-agent/host/clock.h"
#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/policy/capacity.h"
#include "node-agent/publishers/admission_gate.h"
#include "node-agent/sources/sources.h"

namespace ullage::agent {

/// Standalone admission: between libvirt's hook and the tick. What is reserved between two ticks
/// is taken from the last tick's room at once, and shows as a grant in the next tick's samples.
/// Never calls libvirt, which holds the domain while its hook asks.
class Gate final : public publishers::AdmissionGate, public sources::GrantBook {
 public:
  struct Options {
    bool enforce = false;         ///< false (mode observe): writes down and refuses nobody
    milliseconds patience{3000};  ///< for the first tick's room after a start
    seconds start_grace{60};      ///< a grant without a QEMU is dropped after this
    /// Each wish and what became of it, for the log; called from any thread.
    std::function<void(const std::string&)> say = [](const std::string&) {};
  };
  /// All references must outlive the gate.
  Gate(admission::Ledger& ledger, const PolicyParams& params, const host::Clock& clock,
       Options options)
      : ledger_(ledger), params_(params), clock_(clock), options_(std::move(options)) {}

  Verdict Reserve(const VmSpec& vm, bool already_running) override;
  bool Release(const VmId& vm) override;

  std::vector<Grant> Grants() const override;
  bool Complete() const override { return ledger_.complete(); }

  /// After each tick: the new room; VMs that run without a grant are written down, grants whose VM
  /// has long been gone are dropped. Says what it changed, in plain words.
  std::vector<std::string> Update(const Snapshot& snapshot, const Plan& plan);

 private:
  struct Share {
    Bytes ordinary;
    Bytes reclaimed;
  };
  struct Pending {
    std::uint64_t sequence;
    Share share;
  };
  policy::Room RoomFor(const VmId& vm) const;  // with mutex_ held
  Verdict Decide(const VmSpec& vm, bool already_running);
  Verdict Write(const VmSpec& vm, Verdict verdict);  // with mutex_ held
  std::vector<std::string> Adopt(const Snapshot& snapshot);
  std::vector<std::string> DropGone(const Snapshot& snapshot);
  void TakeRoom(const Snapshot& snapshot, const Plan& plan);

  admission::Ledger& ledger_;
  const PolicyParams& params_;
  const host::Clock& clock_;
  const Options options_;

  mutable std::mutex mutex_;  // one reservation at a time
  std::condition_variable known_;
  policy::Room room_;
  std::vector<Pending> pending_;
  std::uint64_t sequence_ = 0;
  mutable std::uint64_t sampled_ = 0;  // reservations that the tick under way has seen
  std::map<VmId, Share> counted_;      // what each VM was counted with when room_ was computed
  std::map<VmId, BootTime> released_;  // a list made before this may still name the VM
  std::map<VmId, BootTime> missing_;
  std::string trouble_;  // the last error of adopting, said once
};

}  // namespace ullage::agent
