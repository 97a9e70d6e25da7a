// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/views.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <limits>

#include "node-agent/clients/table.h"
#include "node-agent/model/human.h"

namespace ullage::clients {
namespace {

constexpr int kMaxConditions = 3;

std::string Size(std::uint64_t bytes) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return Human(Bytes(static_cast<std::int64_t>(std::min(bytes, kMost))));
}

std::string Known(bool has, std::uint64_t bytes) { return has ? Size(bytes) : "?"; }

std::string Clock(std::int64_t unix_ms) {
  const std::time_t when = unix_ms / 1000;
  std::tm local{};
  std::array<char, 16> text{};
  localtime_r(&when, &local);
  std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
  return text.data();
}

std::string Percent(double share) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", share * 100);
  return text.data();
}

std::string Bar(double share, int width) {
  const auto cells = static_cast<std::size_t>(std::max(width, 0));
  const double filled = std::clamp(share, 0.0, 1.0) * static_cast<double>(cells);
  const auto full = static_cast<std::size_t>(std::lround(filled));
  return "[" + std::string(full, '#') + std::string(cells - full, '.') + "]";
}

std::string HostLine(const v1::Host& host, int width) {
  if (!host.has_total() || !host.has_available()) return "host      memory unknown";
  const std::uint64_t used = host.total() - std::min(host.available(), host.total());
  std::string text = Size(used) + " of " + Size(host.total()) + " used";
  text +=
      ", pressure " +
      (host.has_pressure_some_avg10() ? Percent(host.pressure_some_avg10() / 10000.0) : "unknown");
  const int room = (width > 0 ? width : 80) - 13 - DisplayWidth(text);
  if (room < 8) return "host      " + text;
  const double share =
      static_cast<double>(used) / static_cast<double>(std::max<std::uint64_t>(host.total(), 1));
  return "host      " + Bar(share, std::min(room, 40)) + " " + text;
}

std::string CapacityLine(const v1::Capacity& capacity) {
  return "capacity  published " + Size(capacity.published()) + " = granted " +
         Size(capacity.granted()) + " + left " + Size(capacity.additional()) + ", promised " +
         Size(capacity.promised()) + ", unsold " + Size(capacity.unsold());
}

Tone ToneOf(std::string_view state) {
  if (state == "returned") return Tone::kGood;
  if (state == "stalled" || state == "unknown") return Tone::kBad;
  if (state == "no-balloon" || state == "not-offered" || state == "not-negotiated" ||
      state == "unproven") {
    return Tone::kWarn;
  }
  return state == "active" || state == "idle" ? Tone::kPlain : Tone::kDim;
}

Table VmTable(const v1::Snapshot& snapshot) {
  Table table;
  table.columns = {{"GUEST", false, 8, 0},   {"PROMISED", true, 0, 3}, {"RESIDENT", true, 0, 0},
                   {"RETURNED", true, 0, 0}, {"HINTING", false, 0, 4}, {"STATE", false, 0, 2}};
  for (const v1::Vm& vm : snapshot.vms()) {
    table.rows.push_back({{vm.name()},
                          {Size(vm.promised())},
                          {Known(vm.has_resident(), vm.resident())},
                          {Known(vm.has_returned(), vm.returned())},
                          {vm.hinting()},
                          {vm.state(), ToneOf(vm.state())}});
  }
  return table;
}

void Append(std::vector<std::string>& lines, std::string_view text, const Style& style,
            Tone tone = Tone::kPlain) {
  const int width = style.width > 0 ? style.width : std::numeric_limits<int>::max();
  lines.push_back(Paint(Fit(text, width), tone, style.color));
}

std::string Signed(std::int64_t bytes) { return Human(Bytes(bytes)); }

void AppendSum(std::vector<std::string>& lines, const v1::CapacityTerms& terms,
               const Style& style) {
  Table sum;
  sum.columns = {{""}, {"", true}, {"", false, 20, 1}};
  const auto row = [&](const char* sign, std::int64_t bytes, const char* what) {
    sum.rows.push_back({{sign}, {Signed(bytes)}, {what, Tone::kPlain}});
  };
  if (terms.has_until_eviction()) {
    row("", terms.until_eviction(), "are left before the kubelet evicts pods");
  }
  if (terms.has_pods_left()) row("", terms.pods_left(), "are left below the limit of all pods");
  row("", terms.available(), "available on the host, less its own reserve (A)");
  row("+", terms.recoverable(), "reclaim could win back in time (Rec)");
  row("-", terms.growth(), "the VMs may claim at any moment (sum of g)");
  row("-", terms.buffer(), "buffer for the one that claims most (B)");
  row("-", terms.unsold(), "never promised, still sold ordinarily (U)");
  row("-", terms.not_ours(), "promised to others and not used by them (N)");
  row("=", terms.bound(), "safe within the horizon (C1)");
  row("", terms.cap(), "is left below the cap on all promises (K)");
  row("", terms.bound_full(), "would be safe if every guest wanted all at once (C2)");
  auto rendered = Render(sum, style.width, style.color);
  lines.insert(lines.end(), rendered.begin() + 1, rendered.end());
}

std::string Date(std::int64_t unix_s) {
  const std::time_t when = unix_s;
  std::tm local{};
  std::array<char, 32> text{};
  if (localtime_r(&when, &local) == nullptr) return "?";
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &local);
  return text.data();
}

std::string Days(std::uint32_t minutes) {
  std::array<char, 32> text{};
  if (minutes < 60) {
    std::snprintf(text.data(), text.size(), "%u min", minutes);
  } else if (minutes < 48 * 60) {
    std::snprintf(text.data(), text.size(), "%.1f hours", minutes / 60.0);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f days", minutes / 1440.0);
  }
  return text.data();
}

// From nothing to the most, in eighths; a blank is unknown.
std::string Sparkline(const v1::History& history) {
  constexpr std::array<const char*, 8> kBlocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const auto most = static_cast<double>(std::max<std::uint64_t>(history.additional_most(), 1));
  std::string line;
  for (const v1::HistoryPoint& point : history.points()) {
    if (!point.has_additional()) {
      line += ' ';
      continue;
    }
    const double share = std::clamp(static_cast<double>(point.additional()) / most, 0.0, 1.0);
    line += kBlocks[static_cast<std::size_t>(std::lround(share * (kBlocks.size() - 1)))];
  }
  return line;
}

void AppendAudit(std::vector<std::string>& lines, const v1::History& history, const Style& style) {
  const std::string horizon = std::to_string(history.horizon_seconds() / 60) + " min";
  if (history.promises() == 0) {
    Append(lines, "promises   none whose " + horizon + " are over", style);
    return;
  }
  std::string line = "promises   " + std::to_string(history.broken()) + " of " +
                     std::to_string(history.promises()) + " would have broken within " + horizon;
  if (history.broken() > 0) {
    line += "; at worst " + Size(history.worst_shortfall()) + " were missing, promised " +
            Date(history.worst_at_unix_s());
  }
  Append(lines, line, style, history.broken() > 0 ? Tone::kWarn : Tone::kGood);
}

}  // namespace

std::vector<std::string> TopLines(const v1::Snapshot& snapshot, const Style& style) {
  std::vector<std::string> lines;
  Append(lines,
         "ullage    mode " + snapshot.mode() + ", tick " + std::to_string(snapshot.tick()) +
             " at " + Clock(snapshot.observed_at_unix_ms()),
         style, Tone::kDim);
  Append(lines, HostLine(snapshot.host(), style.width), style);
  Append(lines, CapacityLine(snapshot.capacity()), style);
  for (int i = 0; i < std::min(snapshot.conditions_size(), kMaxConditions); ++i) {
    Append(lines, "! " + snapshot.conditions(i), style, Tone::kWarn);
  }
  if (snapshot.conditions_size() > kMaxConditions) {
    Append(lines, "! and " + std::to_string(snapshot.conditions_size() - kMaxConditions) + " more",
           style, Tone::kWarn);
  }
  lines.emplace_back();
  auto rows = Render(VmTable(snapshot), style.width, style.color);
  lines.insert(lines.end(), rows.begin(), rows.end());
  if (snapshot.vms().empty()) Append(lines, "(no VM is known)", style, Tone::kDim);
  return lines;
}

std::vector<std::string> CapacityLines(const v1::Snapshot& snapshot, const Style& style) {
  const v1::Capacity& capacity = snapshot.capacity();
  std::vector<std::string> lines;
  Append(lines, "What may be promised in addition, and why not more:", style);
  lines.emplace_back();
  if (capacity.has_terms()) {
    AppendSum(lines, capacity.terms(), style);
  } else {
    Append(lines, "the sum is unknown, so nothing more is promised", style, Tone::kWarn);
  }
  lines.emplace_back();
  Append(lines, "additional " + Size(capacity.additional()) + ": " + capacity.reason(), style);
  Append(lines,
         "published  " + Size(capacity.published()) + " = granted " + Size(capacity.granted()) +
             " + additional " + Size(capacity.additional()),
         style);
  Append(lines,
         "promised   " + Size(capacity.promised()) +
             " to all VMs; ordinary memory never promised " + Size(capacity.unsold()),
         style);
  if (capacity.promise_windows() > 0) {
    Append(lines,
           "forecasts  " + std::to_string(capacity.promise_windows()) + " scored, " +
               std::to_string(capacity.promise_broken_windows()) + " broken; the buffer is " +
               std::to_string(static_cast<int>(capacity.buffer_widened() * 100)) +
               " % wider for that",
           style);
  }
  return lines;
}

std::vector<std::string> ExplainLines(const v1::Explanation& explanation, const Style& style) {
  std::vector<std::string> lines;
  const v1::Vm& vm = explanation.vm();
  // Sentences are for reading: a terminal wraps them better than we cut them.
  const Style whole{0, style.color};
  Append(lines, vm.name() + "  " + vm.uuid() + "  " + vm.state(), whole);
  for (const std::string& line : explanation.lines()) Append(lines, "  " + line, whole);
  return lines;
}

std::vector<std::string> HistoryLines(const v1::History& history, const Style& style) {
  std::vector<std::string> lines;
  if (history.minutes() == 0) {
    Append(lines, "nothing is recorded yet: the first minute is not over", style);
    return lines;
  }
  Append(lines,
         "recorded   " + Days(history.minutes()) + " between " + Date(history.from_unix_s()) +
             " and " + Date(history.to_unix_s()) + ", mode " + history.mode(),
         style);
  if (history.known_minutes() == 0) {
    Append(lines, "the host or its VMs were unknown all the time, so nothing was promised", style);
    return lines;
  }
  Append(lines,
         "additional " + Size(history.additional_median()) + " could be promised in the median (" +
             Size(history.additional_least()) + " to " + Size(history.additional_most()) + ")",
         style);
  if (history.vm_size() > 0) {
    Append(lines,
           "more VMs   " + std::to_string(history.more_vms_median()) + " in the median (" +
               std::to_string(history.more_vms_least()) + " to " +
               std::to_string(history.more_vms_most()) + "), of " + Size(history.vm_size()) +
               " each: the size of the median VM here",
           style);
  }
  Append(lines, "           " + Sparkline(history), style);
  AppendAudit(lines, history, style);
  return lines;
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;  // a known zero is shown, an unknown is absent
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}";
  return json;
}

}  // namespace ullage::clients
