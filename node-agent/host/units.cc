// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/units.h"

#include <algorithm>
#include <limits>
#include <string>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

// "<digits><unit>" → digits × factor; absent when anything is off.
template <std::size_t kCount>
std::optional<std::int64_t> WithUnit(std::string_view text, const Unit (&units)[kCount]) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = ParseUnsigned(text.substr(0, digits));
  const auto* unit = std::find_if(std::begin(units), std::end(units),
                                  [&](const Unit& u) { return u.name == text.substr(digits); });
  if (digits == 0 || !number || unit == std::end(units)) return std::nullopt;
  const Wide product = static_cast<Wide>(*number) * unit->factor;
  if (product > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  return static_cast<std::int64_t>(product);
}

}  // namespace

std::optional<Bytes> ParseSize(std::string_view text) {
  constexpr Unit kUnits[] = {{"", 1},
                             {"B", 1},
                             {"KiB", std::int64_t{1} << 10},
                             {"MiB", std::int64_t{1} << 20},
                             {"GiB", std::int64_t{1} << 30},
                             {"TiB", std::int64_t{1} << 40}};
  const auto count = WithUnit(text, kUnits);
  return count ? std::optional(Bytes(*count)) : std::nullopt;
}

std::optional<milliseconds> ParseDuration(std::string_view text) {
  constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
  const auto count = WithUnit(text, kUnits);
  return count ? std::optional(milliseconds(*count)) : std::nullopt;
}

std::optional<Permyriad> ParseShare(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  const bool point = text.find('.') != std::string_view::npos;
  const auto whole = ParseUnsigned(TakeUntil(text, '.'));
  std::string hundredths(text);
  if (!whole || *whole > 1000000 || hundredths.size() > 2 || (point && hundredths.empty())) {
    return std::nullopt;
  }
  hundredths.resize(2, '0');
  const auto rest = ParseUnsigned(hundredths);
  if (!rest) return std::nullopt;
  return Permyriad{static_cast<std::int64_t>(*whole * 100 + *rest)};
}

}  // namespace ullage::host
