// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/trace.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>

#include "node-agent/host/text.h"

namespace ullage::simulation {
namespace {

constexpr std::string_view kHeader = "time,vm,resident,cold,limit";
constexpr std::int64_t kYear = std::int64_t{366} * 24 * 3600;
constexpr std::int64_t kLatest = std::int64_t{1} << 42;  // seconds; no wall clock shows more
constexpr std::int64_t kLargest = std::int64_t{1} << 50;
constexpr std::size_t kLongestName = 63;

std::optional<std::int64_t> Number(std::string_view text, std::int64_t most) {
  const auto value = host::ParseUnsigned(text);
  if (!value || *value > static_cast<std::uint64_t>(most)) return std::nullopt;
  return static_cast<std::int64_t>(*value);
}

bool IsName(std::string_view text) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-";
  return !text.empty() && text.size() <= kLongestName &&
         text.find_first_not_of(kAllowed) == std::string_view::npos;
}

struct Line {
  std::string_view vm;
  TracePoint point;
  Bytes limit;
};

// Why a line is none; empty: it is one.
std::string_view Read(std::string_view text, Line& line) {
  if (std::count(text.begin(), text.end(), ',') != 4) return "not five fields";
  std::array<std::string_view, 5> fields;
  for (std::string_view& field : fields) field = host::TakeUntil(text, ',');
  const auto time = Number(fields[0], kLatest);
  const auto resident = Number(fields[2], kLargest);
  const auto cold =
      fields[3].empty() ? std::optional<std::int64_t>(0) : Number(fields[3], kLargest);
  const auto limit = Number(fields[4], kLargest);
  if (!time) return "time is no whole number of seconds";
  if (!IsName(fields[1])) return "vm is no name: 1 to 63 of A-Z a-z 0-9 . _ / -";
  if (!resident) return "resident is no number of bytes";
  if (!cold) return "cold is no number of bytes";
  if (!limit || *limit == 0) return "limit is no number of bytes";
  if (*resident > *limit) return "resident is larger than limit";
  if (*cold > *resident) return "cold is larger than resident";
  line = {fields[1], {*time, Bytes(*resident), Bytes(*cold)}, Bytes(*limit)};
  return "";
}

class Reader {
 public:
  std::string_view Take(std::string_view text) {
    Line line;
    if (const std::string_view fault = Read(text, line); !fault.empty()) return fault;
    first_ = std::min(first_, line.point.second);
    last_ = std::max(last_, line.point.second);
    if (last_ - first_ > kYear) return "more than a year apart from another line";
    const auto [at, fresh] = by_name_.try_emplace(std::string(line.vm), series_.size());
    if (fresh) {
      if (series_.size() == kMostTraceVms) return "too many VMs";
      series_.push_back({at->first, line.limit, {}});
    }
    TraceSeries& series = series_[at->second];
    if (!series.points.empty() && line.point.second <= series.points.back().second) {
      return "this VM's time does not rise";
    }
    series.limit = std::max(series.limit, line.limit);
    series.points.push_back(line.point);
    return "";
  }
  std::vector<TraceSeries> Done() && {
    for (TraceSeries& series : series_) {
      for (TracePoint& point : series.points) point.second -= first_;
    }
    return std::move(series_);
  }
  bool empty() const { return series_.empty(); }

 private:
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::vector<TraceSeries> series_;
  std::int64_t first_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t last_ = 0;
};

}  // namespace

TracePoint TraceSeries::At(std::int64_t minute) const {
  const std::int64_t length = points.back().second + 60;
  const std::int64_t second = (minute * 60) % length;
  const auto after =
      std::upper_bound(points.begin(), points.end(), second,
                       [](std::int64_t at, const TracePoint& point) { return at < point.second; });
  if (after == points.begin()) return {second, points.front().resident, points.front().cold};
  const TracePoint& low = *(after - 1);
  if (after == points.end()) return {second, low.resident, low.cold};
  const double share =
      static_cast<double>(second - low.second) / static_cast<double>(after->second - low.second);
  const auto between = [share](Bytes a, Bytes b) {
    return Bytes(a.count() +
                 static_cast<std::int64_t>(share * static_cast<double>((b - a).count())));
  };
  const Bytes resident = between(low.resident, after->resident);
  return {second, resident, std::min(between(low.cold, after->cold), resident)};
}

Result<std::vector<TraceSeries>> ParseTrace(std::string_view text) {
  if (text.size() > kMostTraceBytes) return Error(Code::kInvalid, "larger than 512 MiB");
  Reader reader;
  std::size_t number = 0;
  bool headed = false;
  const auto fail = [&](std::string_view why) {
    return Error(Code::kInvalid, "line " + std::to_string(number) + ": " + std::string(why));
  };
  while (!text.empty()) {
    if (++number > kMostTraceLines) return fail("too many lines");
    std::string_view line = host::TakeUntil(text, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    if (!headed) {
      if (line != kHeader) return fail("the header has to be " + std::string(kHeader));
      headed = true;
      continue;
    }
    if (const std::string_view fault = reader.Take(line); !fault.empty()) return fail(fault);
  }
  if (reader.empty()) return Error(Code::kInvalid, "there is no VM in it");
  return std::move(reader).Done();
}

}  // namespace ullage::simulation
