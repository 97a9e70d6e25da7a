// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/history.h"

#include <algorithm>
#include <limits>

#include "node-agent/host/text.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

constexpr std::int64_t kMinute = 60;
constexpr std::size_t kPoints = 60;
// Two months: more are not kept.
constexpr std::size_t kMostMinutes = 90000;

std::uint64_t Unsigned(Bytes size) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(size.count(), 0));
}

// The lower of the two in the middle.
std::uint64_t Median(std::vector<std::uint64_t> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::uint64_t MedianVm(const Snapshot& snapshot) {
  std::vector<std::uint64_t> sizes;
  for (const VmState& vm : snapshot.vms) sizes.push_back(Unsigned(vm.promised));
  return Median(std::move(sizes));
}

// What of a promise was missing within its horizon; absent: its horizon was not recorded whole.
struct Held {
  bool known = false;
  std::uint64_t missing = 0;
};

Held Hold(const std::vector<v1::HistoryMinute>& minutes, std::size_t at, std::int64_t horizon) {
  const v1::HistoryMinute& then = minutes[at];
  Held held;
  std::int64_t recorded = 0;
  for (std::size_t i = at + 1; i < minutes.size(); ++i) {
    const v1::HistoryMinute& later = minutes[i];
    const std::int64_t after = later.at_unix_s() - then.at_unix_s();
    if (after > horizon) break;
    if (!later.has_margin()) continue;
    ++recorded;
    const std::uint64_t bound =
        later.granted() > then.granted() ? later.granted() - then.granted() : 0;
    const std::uint64_t left = then.additional() > bound ? then.additional() - bound : 0;
    const Wide missing = static_cast<Wide>(left) - static_cast<Wide>(later.margin());
    constexpr auto kMost = static_cast<Wide>(std::numeric_limits<std::int64_t>::max());
    if (left > 0 && missing > 0) {
      held.missing = std::max(held.missing, static_cast<std::uint64_t>(std::min(missing, kMost)));
    }
  }
  // A minute now and then may be missing; what broke is broken whatever is missing.
  held.known = held.missing > 0 || recorded * 10 >= horizon / kMinute * 9;
  return held;
}

void Points(const std::vector<v1::HistoryMinute>& minutes, const std::vector<bool>& broken,
            v1::History& out) {
  const std::size_t each = (minutes.size() + kPoints - 1) / kPoints;
  for (std::size_t begin = 0; begin < minutes.size(); begin += each) {
    v1::HistoryPoint& point = *out.add_points();
    point.set_at_unix_s(minutes[begin].at_unix_s());
    std::vector<std::uint64_t> values;
    std::uint32_t count = 0;
    for (std::size_t i = begin; i < std::min(begin + each, minutes.size()); ++i) {
      if (minutes[i].has_additional()) values.push_back(minutes[i].additional());
      count += broken[i] ? 1 : 0;
    }
    point.set_broken(count);
    if (!values.empty()) point.set_additional(Median(std::move(values)));
  }
}

void Sizes(const std::vector<v1::HistoryMinute>& minutes, v1::History& out) {
  std::vector<std::uint64_t> sizes;
  std::vector<std::uint64_t> additional;
  for (const v1::HistoryMinute& minute : minutes) {
    if (minute.vm_size() > 0) sizes.push_back(minute.vm_size());
    if (minute.has_additional()) additional.push_back(minute.additional());
  }
  out.set_vm_size(Median(std::move(sizes)));
  out.set_known_minutes(static_cast<std::uint32_t>(additional.size()));
  if (additional.empty()) return;
  const auto [least, most] = std::minmax_element(additional.begin(), additional.end());
  out.set_additional_least(*least);
  out.set_additional_most(*most);
  out.set_additional_median(Median(additional));
  if (out.vm_size() == 0) return;
  const auto vms = [&](std::uint64_t size) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(size / out.vm_size(), std::numeric_limits<std::int32_t>::max()));
  };
  out.set_more_vms_least(vms(out.additional_least()));
  out.set_more_vms_median(vms(out.additional_median()));
  out.set_more_vms_most(vms(out.additional_most()));
}

}  // namespace

std::optional<v1::HistoryMinute> MinuteBook::Add(const Report& report) {
  const auto at =
      std::chrono::duration_cast<seconds>(report.snapshot.at.wall.time_since_epoch()).count();
  const std::int64_t minute = at - at % kMinute;
  std::optional<v1::HistoryMinute> ended;
  if (open_ && open_->at_unix_s() != minute) {
    ended = std::move(open_);
    open_.reset();
  }
  if (!open_) open_.emplace().set_at_unix_s(minute);
  const Capacity& capacity = report.plan.capacity;
  open_->set_mode(report.mode);
  open_->set_granted(Unsigned(capacity.granted));
  open_->set_vms(static_cast<std::uint32_t>(report.snapshot.vms.size()));
  open_->set_vm_size(MedianVm(report.snapshot));
  open_->clear_additional();
  if (!capacity.terms) return ended;
  open_->set_additional(Unsigned(capacity.additional));
  const std::int64_t margin = (capacity.terms->available - capacity.terms->unsold).count();
  open_->set_margin(open_->has_margin() ? std::min(open_->margin(), margin) : margin);
  return ended;
}

v1::History Audit(const std::vector<v1::HistoryMinute>& minutes, seconds horizon) {
  v1::History out;
  const std::int64_t span = std::max<std::int64_t>(horizon.count(), kMinute);
  out.set_horizon_seconds(static_cast<std::uint32_t>(span));
  out.set_minutes(static_cast<std::uint32_t>(minutes.size()));
  if (minutes.empty()) return out;
  out.set_from_unix_s(minutes.front().at_unix_s());
  out.set_to_unix_s(minutes.back().at_unix_s() + kMinute);
  out.set_mode(minutes.back().mode());
  Sizes(minutes, out);
  std::vector<bool> broken(minutes.size());
  for (std::size_t i = 0; i < minutes.size(); ++i) {
    if (minutes[i].additional() == 0) continue;
    const Held held = Hold(minutes, i, span);
    if (!held.known) continue;
    out.set_promises(out.promises() + 1);
    if (held.missing == 0) continue;
    broken[i] = true;
    out.set_broken(out.broken() + 1);
    if (held.missing <= out.worst_shortfall()) continue;
    out.set_worst_shortfall(held.missing);
    out.set_worst_at_unix_s(minutes[i].at_unix_s());
  }
  Points(minutes, broken, out);
  return out;
}

std::vector<v1::HistoryMinute> ReadMinutes(const SegmentOptions& options) {
  std::vector<v1::HistoryMinute> minutes;
  for (const Segment& segment : SegmentsOf(options)) {
    const auto content = ReadSegment(segment);
    if (!content) continue;
    ReadFrames(*content, [&](std::string_view record) {
      v1::HistoryMinute minute;
      if (!minute.ParseFromArray(record.data(), static_cast<int>(record.size()))) return false;
      if (minute.at_unix_s() < 0 || minute.at_unix_s() > kLastMoment) return true;
      minute.set_mode(host::Printable(minute.mode(), kNameLimit));
      minutes.push_back(std::move(minute));
      return minutes.size() < kMostMinutes;
    });
  }
  // A clock that was set back has written some minutes twice, and out of order: the last one
  // counts.
  const auto earlier = [](const auto& a, const auto& b) { return a.at_unix_s() < b.at_unix_s(); };
  std::stable_sort(minutes.begin(), minutes.end(), earlier);
  std::vector<v1::HistoryMinute> once;
  for (v1::HistoryMinute& minute : minutes) {
    if (!once.empty() && once.back().at_unix_s() == minute.at_unix_s()) once.pop_back();
    once.push_back(std::move(minute));
  }
  return once;
}

}  // namespace ullage::publishers
