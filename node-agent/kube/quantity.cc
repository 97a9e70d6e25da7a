// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/quantity.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "node-agent/host/text.h"

namespace ullage::kube {
namespace {

__extension__ using Digits = unsigned __int128;

struct Suffix {
  std::string_view name;
  int binary;   // power of two
  int decimal;  // power of ten
};
constexpr Suffix kSuffixes[] = {{"", 0, 0},    {"n", 0, -9},  {"u", 0, -6},  {"m", 0, -3},
                                {"k", 0, 3},   {"M", 0, 6},   {"G", 0, 9},   {"T", 0, 12},
                                {"P", 0, 15},  {"E", 0, 18},  {"Ki", 10, 0}, {"Mi", 20, 0},
                                {"Gi", 30, 0}, {"Ti", 40, 0}, {"Pi", 50, 0}, {"Ei", 60, 0}};

constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// digits × 2^binary × 10^decimal
struct Number {
  Digits digits = 0;
  int binary = 0;
  int decimal = 0;
};

// Reads "12.50" off the front of `text`. Zeros at either end do not count as digits.
std::optional<Number> TakeDigits(std::string_view& text) {
  Number number;
  bool any = false;
  bool point = false;
  int counted = 0;
  int zeros = 0;  // seen, and not yet known to be followed by another digit
  for (; !text.empty(); text.remove_prefix(1)) {
    const char c = text.front();
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!IsDigit(c)) break;
    any = true;
    if (point) --number.decimal;
    if (c == '0') {
      zeros += counted > 0 ? 1 : 0;
      continue;
    }
    counted += zeros + 1;
    if (counted > kMaxQuantityDigits) return std::nullopt;
    for (; zeros >= 0; --zeros) number.digits *= 10;
    zeros = 0;
    number.digits += static_cast<unsigned>(c - '0');
  }
  number.decimal += zeros;
  if (!any) return std::nullopt;
  return number;
}

// "e-3", "E6". More than four digits are cut: such an exponent is out of range anyway.
std::optional<int> ParseExponent(std::string_view text) {
  if (text.size() < 2 || (text.front() != 'e' && text.front() != 'E')) return std::nullopt;
  text.remove_prefix(1);
  const bool negative = text.front() == '-';
  if (negative || text.front() == '+') text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  int exponent = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return std::nullopt;
    if (exponent < 1000) exponent = exponent * 10 + (c - '0');
  }
  return negative ? -exponent : exponent;
}

bool ApplySuffix(std::string_view text, Number& number) {
  for (const Suffix& suffix : kSuffixes) {
    if (suffix.name != text) continue;
    number.binary += suffix.binary;
    number.decimal += suffix.decimal;
    return true;
  }
  const auto exponent = ParseExponent(text);
  if (exponent) number.decimal += *exponent;
  return exponent.has_value();
}

// Rounded up; absent when it is more than 2^63 − 1. 20 digits and 60 binary places need 127 bits.
std::optional<std::uint64_t> Evaluate(const Number& number) {
  if (number.digits == 0) return 0;
  Digits value = number.digits << number.binary;
  int decimal = number.decimal;
  for (; decimal > 0 && value <= kMost; --decimal) value *= 10;
  bool rest = false;
  for (; decimal < 0 && value > 0; ++decimal) {
    rest = rest || value % 10 != 0;
    value /= 10;
  }
  if (rest || decimal < 0) ++value;
  if (value > kMost) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

Error NoQuantity(std::string_view text) {
  return {Code::kInvalid, "'" + host::Printable(text, kMaxQuantityLength) + "' is no quantity"};
}

}  // namespace

Result<std::int64_t> ParseQuantity(std::string_view text) {
  if (text.size() > kMaxQuantityLength) return NoQuantity(text);
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  auto number = TakeDigits(rest);
  if (!number || !ApplySuffix(rest, *number)) return NoQuantity(text);
  const auto value = Evaluate(*number);
  if (!value) {
    return Error(Code::kExhausted,
                 "'" + host::Printable(text, kMaxQuantityLength) + "' is more than 2^63 - 1");
  }
  const auto amount = static_cast<std::int64_t>(*value);
  return negative ? -amount : amount;
}

Result<std::int64_t> ParseQuantity(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kStringValue:
      return ParseQuantity(value.string_value());
    case google::protobuf::Value::kNumberValue: {
      // A double holds whole numbers up to 2^53, which is 8 PiB; beyond that the figure is not the
      // one that was written.
      if (std::abs(value.number_value()) > 9007199254740992.0) {
        return Error(Code::kExhausted, "a number above 2^53 has to be written as a string");
      }
      std::array<char, 64> text{};
      const auto [end, error] =
          std::to_chars(text.data(), text.data() + text.size(), value.number_value());
      if (error != std::errc{}) return Error(Code::kInvalid, "a number that cannot be shown");
      return ParseQuantity(
          std::string_view(text.data(), static_cast<std::size_t>(end - text.data())));
    }
    case google::protobuf::Value::kNullValue:
    case google::protobuf::Value::KIND_NOT_SET:
      return Error(Code::kNotFound, "no quantity");
    default:
      return Error(Code::kInvalid, "a quantity is a string or a number");
  }
}

Result<Bytes> ParseBytes(const google::protobuf::Value& value) {
  const auto amount = ParseQuantity(value);
  if (!amount) return amount.error();
  if (*amount < 0) return Error(Code::kInvalid, std::to_string(*amount) + " bytes of memory");
  return Bytes(*amount);
}

}  // namespace ullage::kube
