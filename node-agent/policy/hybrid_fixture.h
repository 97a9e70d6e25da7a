// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/fold.h"
#include "node-agent/policy/hybrid.h"

namespace ullage::policy {

/// A host whose capacity is given and not summed up, so that a test says how short it is. 1000 MiB
/// of buffer, guests of 1000 MiB and 100 MiB for their QEMU, and more promised than there is.
class HybridHost {
 public:
  static constexpr BootTime kStart{std::chrono::hours(1)};

  HybridHost() {
    snapshot.at.boot = kStart;
    snapshot.host.swap_total = Bytes::GiB(100);
    snapshot.host.swap_free = Bytes::GiB(100);
  }

  VmState& Add(const char* id, std::int64_t held_mib, Reclaim reclaim = Reclaim::kHybrid) {
    VmState& vm = snapshot.vms.emplace_back();
    vm.spec.id.value = id;
    vm.spec.name = id;
    vm.spec.guest_memory = Bytes::MiB(1000);
    vm.spec.reclaim = reclaim;
    vm.promised = Bytes::MiB(1100);
    vm.ordinary = vm.promised;
    vm.working_set.probe = "idle-page";
    vm.resident = Bytes::MiB(held_mib);
    vm.faults_a_minute = 0;
    vm.proof.balloon = true;
    vm.autodeflate = true;
    vm.guest.usable = vm.spec.guest_memory;
    vm.hybrid.held_last = vm.resident;
    vm.run = Run::kRunning;
    vm.answered_at = kStart;
    return vm;
  }
  VmState& vm(const char* id) {
    return *std::find_if(snapshot.vms.begin(), snapshot.vms.end(),
                         [&](const VmState& v) { return v.spec.id.value == id; });
  }
  void OnKubernetes() {
    NodeSample& node = snapshot.node.emplace();
    node.heard_at = snapshot.at.boot;
    for (const VmState& vm : snapshot.vms) {
      VmiSample& vmi = node.vmis.Edit().emplace_back();
      vmi.spec = vm.spec;
      vmi.launcher = "pod-" + vm.spec.id.value;
    }
  }

  /// One tick, `later` after the one before.
  const Plan& Tick(milliseconds later = seconds(1)) {
    snapshot.at.boot += later;
    for (VmState& vm : snapshot.vms) {
      if (vm.answered_at) vm.answered_at = snapshot.at.boot;
    }
    if (snapshot.node && snapshot.node->heard_at) snapshot.node->heard_at = snapshot.at.boot;
    plan = Decide(snapshot);
    snapshot = Remember(std::move(snapshot), plan);
    return plan;
  }
  Plan Decide(const Snapshot& of) const {
    Plan made;
    made.capacity.terms.emplace();
    made.capacity.terms->available = left;
    made.capacity.terms->buffer = Bytes::MiB(1000);
    made.capacity.terms->unsold = Bytes::GiB(1000);
    made.capacity.additional = Bytes::MiB(64);
    for (const VmState& vm : of.vms) made.vms.push_back({vm.spec.id, Bytes(), ""});
    DecideHybrid(of, params, made);
    return made;
  }
  std::vector<Action> Of(Action::Kind kind) const {
    std::vector<Action> found;
    for (const Action& action : plan.actions) {
      if (action.kind == kind) found.push_back(action);
    }
    return found;
  }
  const Action* Of(Action::Kind kind, const char* id) const {
    for (const Action& action : plan.actions) {
      if (action.kind == kind && action.id.value == id) return &action;
    }
    return nullptr;
  }

  Snapshot snapshot;
  PolicyParams params;
  Plan plan;
  Bytes left = Bytes::MiB(2000);  ///< A
};

}  // namespace ullage::policy
