// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/decisions.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "node-agent/host/text.h"
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

template <typename Number>
bool Moved(Number before, Number now) {
  const auto high = static_cast<Wide>(std::max(before, now));
  const auto low = static_cast<Wide>(std::min(before, now));
  const auto size =
      static_cast<Wide>(before) < 0 ? -static_cast<Wide>(before) : static_cast<Wide>(before);
  return high - low > std::max(static_cast<Wide>(Bytes::MiB(64).count()), size / 16);
}

template <typename Number>
bool Moved(bool had, Number before, bool has, Number now) {
  return had != has || (has && Moved(before, now));
}

bool Differs(const v1::CapacityTerms& a, const v1::CapacityTerms& b) {
  return Moved(a.available(), b.available()) || Moved(a.recoverable(), b.recoverable()) ||
         Moved(a.growth(), b.growth()) || Moved(a.buffer(), b.buffer()) ||
         Moved(a.unsold(), b.unsold()) || Moved(a.not_ours(), b.not_ours()) ||
         Moved(a.cap(), b.cap()) || Moved(a.bound(), b.bound()) ||
         Moved(a.bound_full(), b.bound_full());
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

bool Differs(const v1::Vm& a, const v1::Vm& b) {
  return a.name() != b.name() || a.state() != b.state() || a.hinting() != b.hinting() ||
         a.run() != b.run() || a.placement() != b.placement() || a.reclaim() != b.reclaim() ||
         a.epoch() != b.epoch() || a.guest_agent() != b.guest_agent() ||
         a.guest_memory() != b.guest_memory() || a.reclaimed() != b.reclaimed() ||
         Moved(a.promised(), b.promised()) ||
         Moved(a.has_resident(), a.resident(), b.has_resident(), b.resident()) ||
         Moved(a.has_swapped(), a.swapped(), b.has_swapped(), b.swapped()) ||
         Moved(a.has_returned(), a.returned(), b.has_returned(), b.returned()) ||
         Moved(a.has_growth(), a.growth(), b.has_growth(), b.growth());
}

bool Differs(const v1::Snapshot& a, const v1::Snapshot& b) {
  const auto acted = [](const v1::Snapshot& snapshot) {
    return std::any_of(snapshot.actions().begin(), snapshot.actions().end(),
                       [](const auto& action) { return action.state() != "skipped"; });
  };
  const v1::Capacity& x = a.capacity();
  const v1::Capacity& y = b.capacity();
  // Texts name ages and sizes; how many there are is what changes.
  return a.mode() != b.mode() || acted(b) || a.conditions_size() != b.conditions_size() ||
         x.additional() != y.additional() || x.granted() != y.granted() ||
         x.published() != y.published() || Moved(x.promised(), y.promised()) ||
         Moved(x.unsold(), y.unsold()) || x.has_terms() != y.has_terms() ||
         Differs(x.terms(), y.terms());
}

Status DecisionLog::Add(const Report& report) {
  v1::Snapshot record = ToProto(report);
  google::protobuf::RepeatedPtrField<v1::Vm> now;
  now.Swap(record.mutable_vms());
  google::protobuf::RepeatedPtrField<v1::Vm> changed;
  const bool first = writer_.AtStart();
  std::set<std::string> present;
  for (v1::Vm& vm : now) {
    present.insert(vm.uuid());
    const auto [known, added] = vms_.try_emplace(vm.uuid());
    if (!first && !added && !Differs(known->second, vm)) continue;
    known->second = vm;
    *changed.Add() = std::move(vm);
  }
  for (auto known = vms_.begin(); known != vms_.end();) {
    const bool here = present.contains(known->first);
    if (!here && !first) changed.Add()->set_uuid(known->first);
    known = here ? std::next(known) : vms_.erase(known);
  }
  if (!first && changed.empty() && !Differs(last_, record)) return Ok();
  last_ = record;
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
