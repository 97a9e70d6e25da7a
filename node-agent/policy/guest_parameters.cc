// SPDX-License-Identifier: Apache-2.0
#include "node-agent/policy/guest_parameters.h"

#include <algorithm>

namespace ullage::policy {
namespace {

using Values = std::map<std::string, std::string>;

const std::string* Find(const Values& values, const std::string& name) {
  const auto at = values.find(name);
  return at == values.end() ? nullptr : &at->second;
}

const GuestChange* ChangeOf(const Snapshot& snapshot, const VmId& vm, const std::string& name) {
  const auto& changes = snapshot.guest_changes;
  const auto at = std::find_if(changes.begin(), changes.end(),
                               [&](const GuestChange& c) { return c.vm == vm && c.name == name; });
  return at == changes.end() ? nullptr : &*at;
}

std::string Becomes(const std::string& name, const std::string& value, const char* why,
                    const std::string& current) {
  return name + " = " + value + why + ", it is " + current;
}

void Set(const Snapshot& snapshot, const VmState& vm, const PolicyParams& params, Plan& plan) {
  if (!vm.module || !vm.exempt.empty()) return;
  for (const auto& [name, value] : params.guest_parameters) {
    const std::string* current = Find(vm.module->parameters, name);
    const std::string* written = Find(vm.module->written, name);
    if (current == nullptr || *current == value) continue;
    if (written != nullptr && *written == value) continue;  // changed in the guest: its owner's say
    // The value that we set ourselves under an older configuration is not what was before us.
    const GuestChange* change = ChangeOf(snapshot, vm.spec.id, name);
    const bool ours = change != nullptr && change->written == *current;
    const std::string& before = ours ? change->before : *current;
    plan.actions.push_back({Action::Kind::kSetGuestParameter, vm.spec.id,
                            Becomes(name, value, " as configured", *current), name, value, before});
  }
}

// What became of a change that this agent made or an earlier one left behind.
void Undo(const Snapshot& snapshot, const GuestChange& change, const PolicyParams& params,
          bool listed, Plan& plan) {
  const auto vm = std::find_if(snapshot.vms.begin(), snapshot.vms.end(),
                               [&](const VmState& v) { return v.spec.id == change.vm; });
  if (vm == snapshot.vms.end()) {
    if (listed) plan.settled.push_back(change);  // it went with its guest
    return;
  }
  if (!vm->module || params.guest_parameters.contains(change.name)) return;
  const std::string* current = Find(vm->module->parameters, change.name);
  if (current == nullptr) return;
  if (*current != change.written || change.before == change.written) {
    plan.settled.push_back(change);  // put back, or somebody else's value by now
    return;
  }
  plan.actions.push_back({Action::Kind::kRestoreGuestParameter, change.vm,
                          Becomes(change.name, change.before, " as it was", *current), change.name,
                          change.before, change.before});
}

}  // namespace

void DecideGuestParameters(const Snapshot& snapshot, const PolicyParams& params, Plan& plan) {
  for (const VmState& vm : snapshot.vms) Set(snapshot, vm, params, plan);
  const bool listed = snapshot.vms_listed_at && snapshot.vms_fault.empty();
  for (const GuestChange& change : snapshot.guest_changes) {
    Undo(snapshot, change, params, listed, plan);
  }
}

}  // namespace ullage::policy
