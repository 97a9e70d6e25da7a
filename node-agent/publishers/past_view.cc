// SPDX-License-Identifier: Apache-2.0
// A recorded view back into what it was made of, as far as Explain() asks.
#include <algorithm>
#include <array>
#include <limits>

#include "node-agent/publishers/decisions.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

Bytes Size(std::uint64_t bytes) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return Bytes(static_cast<std::int64_t>(std::min(bytes, kMost)));
}

// The value whose name it is; the first of them for a name that nothing has.
template <typename Enum, std::size_t kCount>
Enum Called(const std::string& name, const std::array<Enum, kCount>& values) {
  for (const Enum value : values) {
    if (name == Name(value)) return value;
  }
  return values[0];
}

GuestModule ModuleOf(const v1::GuestModule& module) {
  GuestModule out;
  if (module.has_reporting()) out.reporting = module.reporting();
  if (module.has_reported()) out.reported = Size(module.reported());
  if (module.has_report_errors()) out.report_errors = module.report_errors();
  if (module.has_balloon()) out.balloon = Size(module.balloon());
  for (const auto& [name, value] : module.parameters()) out.parameters[name] = value;
  return out;
}

void TakeHinting(const v1::Vm& vm, VmState& state) {
  state.hinting =
      Called(vm.hinting(), std::array{Hinting::kUnknown, Hinting::kNoBalloon, Hinting::kNotOffered,
                                      Hinting::kNotNegotiated, Hinting::kOn});
  if (state.hinting == Hinting::kNoBalloon) state.proof.balloon = false;
  if (vm.has_hinting_offered()) state.proof.offered = vm.hinting_offered();
  if (vm.has_hinting_negotiated()) state.proof.negotiated = vm.hinting_negotiated();
  if (vm.has_hinting_at_next_start()) state.proof.at_next_start = vm.hinting_at_next_start();
}

void TakeGuest(const v1::Vm& vm, VmState& state) {
  if (vm.has_guest_balloon()) state.guest.balloon = Size(vm.guest_balloon());
  if (vm.has_guest_unused()) state.guest.unused = Size(vm.guest_unused());
  if (vm.has_guest_available()) state.guest.available = Size(vm.guest_available());
  if (vm.has_guest_usable()) state.guest.usable = Size(vm.guest_usable());
  state.agent = Called(vm.guest_agent(),
                       std::array{GuestAgent::kUnknown, GuestAgent::kDenied, GuestAgent::kNoChannel,
                                  GuestAgent::kNotConnected, GuestAgent::kSilent,
                                  GuestAgent::kNoModule, GuestAgent::kReads});
  state.agent_fault = Text(vm.guest_agent_fault());
  if (vm.has_guest_module()) state.module = ModuleOf(vm.guest_module());
}

// A file is a stranger's: its words are shown, and only so.
v1::Vm Shown(v1::Vm vm) {
  for (std::string* text :
       {vm.mutable_uuid(), vm.mutable_name(), vm.mutable_hinting(), vm.mutable_run(),
        vm.mutable_placement(), vm.mutable_reclaim(), vm.mutable_state(), vm.mutable_reason(),
        vm.mutable_guest_agent(), vm.mutable_guest_agent_fault()}) {
    *text = Text(*text);
  }
  return vm;
}

VmState StateOf(const v1::Vm& vm) {
  VmState state;
  state.spec.id.value = vm.uuid();
  state.spec.name = vm.name();
  state.spec.guest_memory = Size(vm.guest_memory());
  state.spec.reclaim =
      Called(vm.reclaim(), std::array{Reclaim::kHints, Reclaim::kHybrid, Reclaim::kOff});
  state.promised = Size(vm.promised());
  state.ordinary = Size(vm.ordinary());
  state.reclaimed = Size(vm.reclaimed());
  if (vm.has_resident()) state.resident = Size(vm.resident());
  if (vm.has_swapped()) state.swapped = Size(vm.swapped());
  if (vm.has_peak()) state.peak = Size(vm.peak());
  if (vm.has_returned()) state.returned = Size(vm.returned());
  state.bound_only = vm.state() == "starting";
  state.stalled = vm.state() == "stalled";
  TakeHinting(vm, state);
  TakeGuest(vm, state);
  return state;
}

}  // namespace

Result<v1::Explanation> ExplainPast(const v1::Snapshot& past, std::string_view vm) {
  Report report;
  report.snapshot.at.wall = WallTimeOf(past.observed_at_unix_ms());
  for (const v1::Vm& recorded : past.vms()) {
    report.snapshot.vms.push_back(StateOf(recorded));
    VmDecision decision{{recorded.uuid()}, Size(recorded.growth()), Text(recorded.reason())};
    report.plan.vms.push_back(std::move(decision));
  }
  auto explained = Explain(report, vm);
  if (!explained) return explained;
  *explained->mutable_capacity() = past.capacity();
  explained->mutable_capacity()->set_reason(Text(past.capacity().reason()));
  for (const v1::Vm& recorded : past.vms()) {
    if (Text(recorded.uuid()) == explained->vm().uuid()) *explained->mutable_vm() = Shown(recorded);
  }
  explained->add_lines("As it was written down at " + Rfc3339(report.snapshot.at.wall) +
                       ", the last change of something on this host before the moment asked for.");
  return explained;
}

}  // namespace ullage::publishers
