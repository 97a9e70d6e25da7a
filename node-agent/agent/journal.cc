// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/journal.h"

#include <algorithm>
#include <map>

#include "node-agent/model/human.h"

namespace ullage::agent {
namespace {

using Level = Entry::Level;

class Lines {
 public:
  void Info(std::string text) { entries_.push_back({Level::kInfo, std::move(text)}); }
  void Warn(std::string text) { entries_.push_back({Level::kWarning, std::move(text)}); }
  // A fault that begins, changes or ends.
  void Fault(const std::string& where, const std::string& before, const std::string& now) {
    if (before == now) return;
    if (now.empty()) return Info(where + ": well again");
    Warn(where + ": " + now);
  }
  std::vector<Entry> Take() { return std::move(entries_); }

 private:
  std::vector<Entry> entries_;
};

void CompareVm(const VmState* was, const VmState& vm, Lines& lines) {
  const std::string name = "vm " + vm.spec.name;
  static const VmState kNone;
  const VmState& before = was != nullptr ? *was : kNone;
  if (was == nullptr) {
    lines.Info(name + ": promised " + InMiB(vm.promised) + " (" + InMiB(vm.reclaimed) +
               " on reclaimable memory)");
  }
  if (was != nullptr && before.epoch != vm.epoch && before.epoch != 0) {
    lines.Info(name + ": guest restarted");
  }
  if (before.hinting != vm.hinting) {
    lines.Info(name + ": hinting " + Name(before.hinting) + " → " + Name(vm.hinting));
  }
  if (before.stalled != vm.stalled) {
    if (vm.stalled) lines.Warn(name + ": its QEMU does not answer in time");
    if (!vm.stalled) lines.Info(name + ": its QEMU answers again");
  }
  lines.Fault(name, before.fault, vm.fault);
  if (!vm.spec.bad_setting.empty() && before.spec.bad_setting != vm.spec.bad_setting) {
    lines.Warn(name + ": " + vm.spec.bad_setting);
  }
}

// Both in the order of their ids.
void CompareVms(const std::vector<VmState>& before, const std::vector<VmState>& now, Lines& lines) {
  auto old = before.begin();
  const auto ended = [&](auto until) {
    for (; old != until; ++old) lines.Info("vm " + old->spec.name + ": ended");
  };
  for (const VmState& vm : now) {
    ended(std::find_if(old, before.end(),
                       [&](const VmState& other) { return !(other.spec.id < vm.spec.id); }));
    const bool known = old != before.end() && old->spec.id == vm.spec.id;
    CompareVm(known ? &*old : nullptr, vm, lines);
    if (known) ++old;
  }
  ended(before.end());
}

void CompareNode(const std::optional<NodeSample>& was, const NodeSample& now, Lines& lines) {
  static const NodeSample kNone;
  const NodeSample& before = was ? *was : kNone;
  lines.Fault("API server", before.fault, now.fault);
  lines.Fault("policy", before.policy_fault, now.policy_fault);
  if (before.policy != now.policy) {
    lines.Info(now.policy.empty() ? "no ReclaimPolicy is in force: the configuration applies"
                                  : "ReclaimPolicy " + now.policy + " is in force");
  }
  const auto faults = [](const NodeSample& node) {
    std::map<std::string, std::string> all;
    for (const PodSample& pod : node.pods) {
      if (pod.fault.empty()) continue;
      all[std::string("pod ").append(pod.name_space).append("/").append(pod.name)] = pod.fault;
    }
    for (const VmiSample& vmi : node.vmis) {
      if (!vmi.fault.empty()) all["VMI " + vmi.spec.name] = vmi.fault;
    }
    return all;
  };
  if (now.pods.Shares(before.pods) && now.vmis.Shares(before.vmis)) return;
  const auto old = faults(before);
  for (const auto& [who, fault] : faults(now)) {
    const auto at = old.find(who);
    if (at != old.end() && at->second == fault) continue;
    lines.Warn(std::string(who).append(": ").append(fault));
  }
}

// An action stands in each plan until its effect is seen; it is said when it begins, and each time
// it fails.
void CompareOutcome(const Report& before, const Outcome& outcome, Lines& lines) {
  const std::string what =
      std::string(Name(outcome.action.kind)) + " of " + outcome.action.id.value + ": ";
  if (outcome.state == Outcome::State::kFailed) return lines.Warn(what + outcome.message);
  // Of a VM that is to go each word counts: it is asked, it is under way, it has left.
  const bool rare =
      outcome.state == Outcome::State::kDone && (outcome.action.kind == Action::Kind::kMigrate ||
                                                 outcome.action.kind == Action::Kind::kEvict);
  const bool stood =
      !rare && std::any_of(before.outcomes.begin(), before.outcomes.end(), [&](const Outcome& old) {
        return SameAction(old.action, outcome.action);
      });
  if (stood) return;
  const std::string message = outcome.message.empty() ? "" : " (" + outcome.message + ")";
  lines.Info(what + Name(outcome.state) + message + ": " + outcome.action.reason);
}

}  // namespace

std::vector<Entry> Changes(const Report& before, const Report& now) {
  Lines lines;
  lines.Fault("host memory", before.snapshot.host.fault, now.snapshot.host.fault);
  lines.Fault("list of VMs", before.snapshot.vms_fault, now.snapshot.vms_fault);
  if (now.snapshot.node) CompareNode(before.snapshot.node, *now.snapshot.node, lines);
  CompareVms(before.snapshot.vms, now.snapshot.vms, lines);
  const Capacity& capacity = now.plan.capacity;
  if (capacity.published != before.plan.capacity.published) {
    lines.Info("published " + InMiB(before.plan.capacity.published) + " → " +
               InMiB(capacity.published) + ": " + capacity.reason);
  }
  for (const Outcome& outcome : now.outcomes) CompareOutcome(before, outcome, lines);
  return lines.Take();
}

}  // namespace ullage::agent
