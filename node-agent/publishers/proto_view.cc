// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/proto_view.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "node-agent/host/text.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

// More would be a list that nobody reads; the count of the rest still says how bad it is.
constexpr std::size_t kMaxConditions = 64;

std::uint64_t Unsigned(Bytes size) {
  return size.count() > 0 ? static_cast<std::uint64_t>(size.count()) : 0;
}

std::string Seconds(BootClock::duration age) {
  const auto whole = std::chrono::duration_cast<seconds>(age).count();
  return std::to_string(std::max<std::int64_t>(whole, 0)) + " s";
}

void FillHost(const HostSample& host, v1::Host& out) {
  if (host.total) out.set_total(Unsigned(*host.total));
  if (host.available) out.set_available(Unsigned(*host.available));
  if (host.free) out.set_free(Unsigned(*host.free));
  if (host.pressure_some_avg10) {
    const auto share = std::clamp<std::int64_t>(host.pressure_some_avg10->value, 0, 10000);
    out.set_pressure_some_avg10(static_cast<std::uint32_t>(share));
  }
}

void AddAction(const Action& action, std::string_view state, std::string_view message,
               v1::Snapshot& out) {
  v1::Action& shown = *out.add_actions();
  shown.set_kind(Name(action.kind));
  shown.set_uuid(host::Printable(action.id.value, kNameLimit));
  shown.set_reason(Text(action.reason));
  shown.set_state(std::string(state));
  shown.set_message(Text(message));
}

void FillActions(const Report& report, v1::Snapshot& out) {
  for (const Outcome& outcome : report.outcomes) {
    AddAction(outcome.action, Name(outcome.state), outcome.message, out);
  }
  for (const Action& action : report.plan.actions) {
    const bool told = std::any_of(report.outcomes.begin(), report.outcomes.end(),
                                  [&](const Outcome& o) { return SameAction(o.action, action); });
    if (!told) AddAction(action, "skipped", "mode " + report.mode + " only shows it", out);
  }
}

void VmConditions(const VmState& vm, std::vector<std::string>& out) {
  const auto say = [&](const std::string& what) {
    out.push_back("VM " + host::Printable(vm.spec.name, kNameLimit) + ": " + what);
  };
  const std::string why = vm.fault.empty() ? "" : ": " + vm.fault;
  if (!vm.spec.bad_setting.empty()) say(vm.spec.bad_setting);
  if (vm.bound_only) return;
  if (vm.stalled) {
    say("QEMU does not answer in time, its last words are shown" + why);
  } else if (!vm.resident) {
    say("nobody knows what it holds, it counts in full" + why);
  } else if (!vm.fault.empty()) {
    say(vm.fault);
  }
}

void HostConditions(const Snapshot& snapshot, std::vector<std::string>& out) {
  if (!snapshot.host.fault.empty()) out.push_back("host memory: " + snapshot.host.fault);
  if (!snapshot.host.total || !snapshot.host.available) {
    out.push_back("the host's memory is unknown, so nothing more is promised");
  }
  const std::string why = snapshot.vms_fault.empty() ? "" : ": " + snapshot.vms_fault;
  if (!snapshot.vms_listed_at) {
    out.push_back("nobody knows yet which VMs run" + why);
  } else if (!snapshot.vms_fault.empty()) {
    out.push_back("the list of VMs is " + Seconds(snapshot.at.boot - *snapshot.vms_listed_at) +
                  " old" + why);
  }
}

}  // namespace

std::vector<std::string> ConditionsOf(const Report& report) {
  std::vector<std::string> found;
  HostConditions(report.snapshot, found);
  if (!report.plan.nobody_goes.empty()) found.push_back(report.plan.nobody_goes);
  for (const VmState& vm : report.snapshot.vms) VmConditions(vm, found);
  for (const Outcome& outcome : report.outcomes) {
    if (outcome.state != Outcome::State::kFailed) continue;
    found.push_back(std::string(Name(outcome.action.kind)) + " failed for " +
                    outcome.action.id.value + ": " + outcome.message);
  }
  const std::size_t all = found.size();
  if (all > kMaxConditions) found.resize(kMaxConditions);
  for (std::string& condition : found) condition = Text(condition);
  if (all > kMaxConditions) {
    found.push_back("and " + std::to_string(all - kMaxConditions) + " more");
  }
  return found;
}

v1::Snapshot HeadToProto(const Report& report) {
  v1::Snapshot out;
  out.set_tick(report.tick);
  out.set_observed_at_unix_ms(
      std::chrono::duration_cast<milliseconds>(report.snapshot.at.wall.time_since_epoch()).count());
  out.set_mode(Text(report.mode));
  FillHost(report.snapshot.host, *out.mutable_host());
  FillCapacity(report.plan.capacity, *out.mutable_capacity());
  FillActions(report, out);
  for (std::string& condition : ConditionsOf(report)) out.add_conditions(std::move(condition));
  return out;
}

v1::Snapshot ToProto(const Report& report) {
  v1::Snapshot out = HeadToProto(report);
  const auto& vms = report.snapshot.vms;
  std::vector<std::size_t> order(vms.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(vms[a].spec.name, vms[a].spec.id) < std::tie(vms[b].spec.name, vms[b].spec.id);
  });
  for (const std::size_t index : order) FillVm(report, index, *out.add_vms());
  return out;
}

}  // namespace ullage::publishers
