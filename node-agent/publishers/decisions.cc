// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/decisions.h"

#include <unistd.h>

#include <algorithm>

#include "node-agent/host/text.h"
#include "node-agent/publishers/moved.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

// More VMs than any host runs; a file that says otherwise is none of ours.
constexpr std::size_t kMostVms = 65536;

std::int64_t Milliseconds(WallTime when) {
  return std::chrono::duration_cast<milliseconds>(when.time_since_epoch()).count();
}

// As it is shown.
Bytes Shown(Bytes size) { return std::max(size, Bytes()); }
std::optional<Bytes> Shown(const std::optional<Bytes>& size) {
  return size ? std::optional(Shown(*size)) : std::nullopt;
}

bool Differs(const CapacityTerms& a, const CapacityTerms& b) {
  return Moved(a.available, b.available) || Moved(a.recoverable, b.recoverable) ||
         Moved(a.growth, b.growth) || Moved(a.buffer, b.buffer) || Moved(a.unsold, b.unsold) ||
         Moved(a.not_ours, b.not_ours) || Moved(a.cap, b.cap) || Moved(a.bound, b.bound) ||
         Moved(a.bound_full, b.bound_full);
}

bool Differs(const Capacity& a, const Capacity& b) {
  return Shown(a.additional) != Shown(b.additional) || Shown(a.granted) != Shown(b.granted) ||
         Shown(a.published) != Shown(b.published) || Moved(Shown(a.promised), Shown(b.promised)) ||
         Moved(Shown(a.unsold), Shown(b.unsold)) || a.terms.has_value() != b.terms.has_value() ||
         (a.terms && Differs(*a.terms, *b.terms));
}

bool Acted(const Report& report) {
  return std::any_of(report.outcomes.begin(), report.outcomes.end(), [](const Outcome& outcome) {
    return outcome.state != Outcome::State::kSkipped;
  });
}

// The first record's time; absent when there is none that can be read.
std::optional<std::int64_t> BeginOf(std::string_view content) {
  std::optional<std::int64_t> begin;
  ReadFrames(content, [&](std::string_view record) {
    v1::Snapshot first;
    if (first.ParseFromArray(record.data(), static_cast<int>(record.size()))) {
      begin = first.observed_at_unix_ms();
    }
    return false;
  });
  return begin;
}

}  // namespace

DecisionLog::Vm DecisionLog::VmOf(const Report& report, std::size_t index) {
  const VmState& vm = report.snapshot.vms[index];
  const VmDecision* decision = DecisionOf(report, index);
  return {.state = StateWord(vm),
          .hinting = vm.hinting,
          .run = vm.run,
          .placement = vm.spec.placement,
          .reclaim = vm.spec.reclaim,
          .agent = vm.agent,
          .epoch = vm.epoch,
          .guest_memory = Shown(vm.spec.guest_memory),
          .reclaimed = Shown(vm.reclaimed),
          .promised = Shown(vm.promised),
          .resident = Shown(vm.resident),
          .swapped = Shown(vm.swapped),
          .returned = Shown(vm.returned),
          .growth = decision ? std::optional(Shown(decision->growth)) : std::nullopt};
}

bool DecisionLog::Differs(const Vm& a, const Vm& b) {
  return a.state != b.state || a.hinting != b.hinting || a.run != b.run ||
         a.placement != b.placement || a.reclaim != b.reclaim || a.agent != b.agent ||
         a.epoch != b.epoch || a.guest_memory != b.guest_memory || a.reclaimed != b.reclaimed ||
         Moved(a.promised, b.promised) || Moved(a.resident, b.resident) ||
         Moved(a.swapped, b.swapped) || Moved(a.returned, b.returned) || Moved(a.growth, b.growth);
}

bool DecisionLog::Differs(const Head& a, const Head& b) {
  return a.mode != b.mode || a.conditions != b.conditions ||
         publishers::Differs(a.capacity, b.capacity);
}

DecisionLog::Vms DecisionLog::Changed(const Report& report, bool all) {
  Vms changed;
  // Both are in the order of ids: what is recorded and does not come is gone.
  auto recorded = vms_.begin();
  const auto drop = [&](const VmId* until) {
    while (recorded != vms_.end() && (until == nullptr || recorded->first < *until)) {
      if (!all) changed.Add()->set_uuid(host::Printable(recorded->first.value, kNameLimit));
      recorded = vms_.erase(recorded);
    }
  };
  for (std::size_t i = 0; i < report.snapshot.vms.size(); ++i) {
    const VmSpec& spec = report.snapshot.vms[i].spec;
    drop(&spec.id);
    const Vm now = VmOf(report, i);
    const bool known = recorded != vms_.end() && recorded->first == spec.id;
    if (!known) recorded = vms_.try_emplace(recorded, spec.id);
    Recorded& last = recorded++->second;
    if (!all && known && last.name == spec.name && !Differs(last.vm, now)) continue;
    last = {spec.name, now};
    FillVm(report, i, *changed.Add());
  }
  drop(nullptr);
  return changed;
}

Status DecisionLog::Add(const Report& report) {
  const bool first = writer_.AtStart();
  Vms changed = Changed(report, first);
  Head head{report.mode, ConditionsOf(report).size(), report.plan.capacity};
  if (!first && changed.empty() && !Acted(report) && !Differs(head_, head)) return Ok();
  head_ = std::move(head);
  v1::Snapshot record = HeadToProto(report);
  record.mutable_vms()->Swap(&changed);
  // After a failure the next record begins a file, with everything in it: nothing is lost.
  if (auto written = writer_.Append(record.SerializeAsString()); !written) return written;
  if (first) DropOld(report.snapshot.at.wall);
  return Ok();
}

// A file is as old as its last record, so as the first of the next one.
void DecisionLog::DropOld(WallTime now) const {
  const auto segments = SegmentsOf(options_.segments);
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    const auto next = ReadSegment(segments[i + 1]);
    const auto begin = next ? BeginOf(*next) : std::nullopt;
    if (begin && *begin < Milliseconds(now - options_.keep)) unlink(segments[i].path.c_str());
  }
}

v1::Snapshot Replay(std::string_view content, std::int64_t at_unix_ms) {
  v1::Snapshot state;
  std::map<std::string, v1::Vm> vms;
  ReadFrames(content, [&](std::string_view bytes) {
    v1::Snapshot record;
    if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
    // A clock that was set back brings older times after younger ones, and those count.
    if (record.observed_at_unix_ms() > at_unix_ms) return true;
    for (v1::Vm& vm : *record.mutable_vms()) {
      if (vm.state().empty()) {
        vms.erase(vm.uuid());
      } else if (vms.size() < kMostVms || vms.contains(vm.uuid())) {
        vms[vm.uuid()] = std::move(vm);
      }
    }
    record.clear_vms();
    state = std::move(record);
    return true;
  });
  for (auto& [uuid, vm] : vms) *state.add_vms() = std::move(vm);
  return state;
}

Result<v1::Snapshot> DecisionsAt(const DecisionsOptions& options, WallTime at) {
  const std::int64_t wanted = Milliseconds(at);
  const auto segments = SegmentsOf(options.segments);
  std::optional<std::int64_t> oldest;
  for (std::size_t i = segments.size(); i-- > 0;) {  // the newest first
    const auto content = ReadSegment(segments[i]);
    if (!content) return content.error();
    const auto begin = BeginOf(*content);
    if (!begin) continue;
    oldest = begin;
    v1::Snapshot state = Replay(*content, wanted);
    if (state.observed_at_unix_ms() != 0) return state;
  }
  if (!oldest) return Error(Code::kNotFound, "no decisions are kept yet");
  return Error(Code::kNotFound, "nothing is known of " + Rfc3339(at) +
                                    ": decisions are kept since " + Rfc3339(WallTimeOf(*oldest)));
}

}  // namespace ullage::publishers
