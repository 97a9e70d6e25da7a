// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/moment.h"

#include <algorithm>
#include <optional>
#include <string>

#include "node-agent/host/text.h"

namespace ullage::clients {
namespace {

constexpr int kLastYear = 2200;  // a clock in nanoseconds ends in 2262
constexpr seconds kMostSpan{24 * 3600};

// Reads from the front; what is not as expected makes it bad for good.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  int Digits(std::size_t count) {
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest_.empty() || rest_[0] < '0' || rest_[0] > '9') {
        good_ = false;
        return 0;
      }
      value = value * 10 + (rest_[0] - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  bool Take(char wanted) {
    if (rest_.empty() || rest_[0] != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void Want(char wanted) { good_ = Take(wanted) && good_; }
  void Want(bool so) { good_ = so && good_; }
  void SkipDigits() {
    while (!rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9') rest_.remove_prefix(1);
  }
  bool AtEnd() const { return good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

std::optional<WallTime> Rfc3339(std::string_view text) {
  Reader reader(text);
  const int year = reader.Digits(4);
  reader.Want('-');
  const int month = reader.Digits(2);
  reader.Want('-');
  const int day = reader.Digits(2);
  reader.Want(reader.Take('T') || reader.Take('t') || reader.Take(' '));
  const int hour = reader.Digits(2);
  reader.Want(':');
  const int minute = reader.Digits(2);
  reader.Want(':');
  const int second = reader.Digits(2);
  if (reader.Take('.')) {
    reader.Digits(1);
    reader.SkipDigits();
  }
  std::chrono::minutes offset{0};
  if (!reader.Take('Z') && !reader.Take('z')) {
    const bool behind = reader.Take('-');
    if (!behind) reader.Want('+');
    const int hours = reader.Digits(2);
    reader.Want(':');
    const int minutes = reader.Digits(2);
    reader.Want(hours < 24 && minutes < 60);
    offset = std::chrono::hours(hours) + std::chrono::minutes(minutes);
    if (behind) offset = -offset;
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!reader.AtEnd() || !date.ok() || year < 1970 || year > kLastYear) return std::nullopt;
  if (hour > 23 || minute > 59 || second > 60) return std::nullopt;  // 60 is a leap second
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         seconds(second) - offset;
}

Error Bad(std::string_view text, const char* what) {
  return {Code::kInvalid, "'" + host::Printable(text, 64) + "' is no " + what};
}

}  // namespace

Result<seconds> ParseSpan(std::string_view text) {
  if (text.size() < 2) return Bad(text, "span of time such as 10m (s, m, h or d)");
  std::int64_t unit = 0;
  switch (text.back()) {
    case 's':
      unit = 1;
      break;
    case 'm':
      unit = 60;
      break;
    case 'h':
      unit = 3600;
      break;
    case 'd':
      unit = 86400;
      break;
    default:
      return Bad(text, "span of time such as 10m (s, m, h or d)");
  }
  const auto count = host::ParseUnsigned(text.substr(0, text.size() - 1));
  if (!count || *count > static_cast<std::uint64_t>(kMostSpan.count() / unit)) {
    return Bad(text, "span of time of at most a day");
  }
  return seconds(static_cast<std::int64_t>(*count) * unit);
}

Result<WallTime> ParseMoment(std::string_view text, WallTime now) {
  if (text.starts_with('-')) {
    const auto span = ParseSpan(text.substr(1));
    if (!span) return span.error();
    return now - *span;
  }
  if (const auto moment = Rfc3339(text)) return *moment;
  return Bad(text, "moment such as 2026-11-21T08:30:00Z or -10m");
}

}  // namespace ullage::clients
