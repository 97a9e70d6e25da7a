// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/vm_view.h"

#include <algorithm>
#include <limits>

#include "node-agent/host/text.h"
#include "node-agent/publishers/proto_view.h"

namespace ullage::publishers {
namespace {

std::uint64_t Unsigned(Bytes size) {
  return size.count() > 0 ? static_cast<std::uint64_t>(size.count()) : 0;
}

// Less than this never counts as "came back": a guest breathes.
bool CameBack(const VmState& vm) {
  constexpr Bytes kLeast = Bytes::MiB(64);
  constexpr Permyriad kShare{1000};
  return vm.returned && *vm.returned >= std::max(kLeast, vm.promised * kShare);
}

void FillGuest(const GuestStats& guest, v1::Vm& out) {
  if (guest.balloon) out.set_guest_balloon(Unsigned(*guest.balloon));
  if (guest.unused) out.set_guest_unused(Unsigned(*guest.unused));
  if (guest.available) out.set_guest_available(Unsigned(*guest.available));
  if (guest.usable) out.set_guest_usable(Unsigned(*guest.usable));
}

std::uint32_t MillisecondsSince(BootTime then, BootTime now) {
  const auto age = std::chrono::duration_cast<milliseconds>(now - then).count();
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(age, 0, kMost));
}

void FillModule(const VmState& vm, BootTime now, v1::Vm& out) {
  out.set_guest_agent(Name(vm.agent));
  out.set_guest_agent_fault(Text(vm.agent_fault));
  if (!vm.module) return;
  v1::GuestModule& module = *out.mutable_guest_module();
  if (vm.module->reporting) module.set_reporting(*vm.module->reporting);
  if (vm.module->reported) module.set_reported(Unsigned(*vm.module->reported));
  if (vm.module->report_errors) module.set_report_errors(*vm.module->report_errors);
  if (vm.module->balloon) module.set_balloon(Unsigned(*vm.module->balloon));
  for (const auto& [name, value] : vm.module->other) (*module.mutable_other())[name] = value;
  for (const auto& [name, value] : vm.module->parameters) {
    (*module.mutable_parameters())[name] = value;
  }
  module.set_read_ms_ago(MillisecondsSince(vm.module->read_at, now));
}

}  // namespace

std::string Text(std::string_view foreign) { return host::Printable(foreign, kTextLimit); }

const VmDecision* DecisionOf(const Report& report, std::size_t index) {
  const auto& decisions = report.plan.vms;
  const VmId& id = report.snapshot.vms[index].spec.id;
  if (index < decisions.size() && decisions[index].id == id) return &decisions[index];
  const auto found = std::find_if(decisions.begin(), decisions.end(),
                                  [&](const VmDecision& d) { return d.id == id; });
  return found == decisions.end() ? nullptr : &*found;
}

std::string_view StateWord(const VmState& vm) {
  if (vm.bound_only) return "starting";
  if (vm.stalled) return "stalled";
  if (vm.run == Run::kOff) return "off";
  if (vm.run == Run::kPaused) return "paused";
  if (!vm.resident) return "unknown";
  if (vm.spec.reclaim == Reclaim::kOff) return "opted-out";
  if (!vm.exempt.empty()) return "exempt";
  switch (vm.hinting) {
    case Hinting::kNoBalloon:
    case Hinting::kNotOffered:
    case Hinting::kNotNegotiated:
      return Name(vm.hinting);
    case Hinting::kUnknown:
    case Hinting::kOn:
      break;
  }
  if (vm.spec.reclaim == Reclaim::kHybrid) {
    if (vm.hybrid.needy) return "needy";
    if (vm.hybrid.balloon_wish || vm.hybrid.limit_wish) return "squeezed";
  }
  if (CameBack(vm)) return "returned";
  if (vm.hinting == Hinting::kUnknown) return "unproven";
  return *vm.resident < vm.promised * Permyriad{5000} ? "idle" : "active";
}

void FillVm(const Report& report, std::size_t index, v1::Vm& out) {
  const VmState& vm = report.snapshot.vms[index];
  out.set_uuid(host::Printable(vm.spec.id.value, kNameLimit));
  out.set_name(host::Printable(vm.spec.name, kNameLimit));
  out.set_guest_memory(Unsigned(vm.spec.guest_memory));
  out.set_promised(Unsigned(vm.promised));
  out.set_ordinary(Unsigned(vm.ordinary));
  out.set_reclaimed(Unsigned(vm.reclaimed));
  if (vm.resident) out.set_resident(Unsigned(*vm.resident));
  if (vm.swapped) out.set_swapped(Unsigned(*vm.swapped));
  if (vm.peak) out.set_peak(Unsigned(*vm.peak));
  if (vm.returned) out.set_returned(Unsigned(*vm.returned));
  if (const VmDecision* decision = DecisionOf(report, index)) {
    out.set_growth(Unsigned(decision->growth));
    out.set_reason(Text(decision->reason));
  }
  out.set_hinting(Name(vm.hinting));
  out.set_run(Name(vm.run));
  out.set_placement(Name(vm.spec.placement));
  out.set_reclaim(Name(vm.spec.reclaim));
  out.set_state(std::string(StateWord(vm)));
  out.set_epoch(vm.epoch);
  if (vm.proof.offered) out.set_hinting_offered(*vm.proof.offered);
  if (vm.proof.negotiated) out.set_hinting_negotiated(*vm.proof.negotiated);
  if (vm.proof.at_next_start) out.set_hinting_at_next_start(*vm.proof.at_next_start);
  FillGuest(vm.guest, out);
  FillModule(vm, report.snapshot.at.boot, out);
  if (vm.answered_at) {
    out.set_answered_ms_ago(MillisecondsSince(*vm.answered_at, report.snapshot.at.boot));
  }
}

void FillCapacity(const Capacity& capacity, v1::Capacity& out) {
  out.set_promised(Unsigned(capacity.promised));
  out.set_granted(Unsigned(capacity.granted));
  out.set_additional(Unsigned(capacity.additional));
  out.set_published(Unsigned(capacity.published));
  out.set_unsold(Unsigned(capacity.unsold));
  out.set_reason(Text(capacity.reason));
  out.set_promise_windows(capacity.audit.windows);
  out.set_promise_broken_windows(capacity.audit.broken);
  out.set_buffer_widened(capacity.audit.width);
  if (!capacity.terms) return;
  v1::CapacityTerms& terms = *out.mutable_terms();
  terms.set_available(capacity.terms->available.count());
  if (const auto& left = capacity.terms->until_eviction) terms.set_until_eviction(left->count());
  if (const auto& left = capacity.terms->pods_left) terms.set_pods_left(left->count());
  terms.set_recoverable(capacity.terms->recoverable.count());
  terms.set_growth(capacity.terms->growth.count());
  terms.set_buffer(capacity.terms->buffer.count());
  terms.set_unsold(capacity.terms->unsold.count());
  terms.set_not_ours(capacity.terms->not_ours.count());
  terms.set_cap(capacity.terms->cap.count());
  terms.set_bound(capacity.terms->bound.count());
  terms.set_bound_full(capacity.terms->bound_full.count());
}

}  // namespace ullage::publishers
