// SPDX-License-Identifier: Apache-2.0
// Any bytes as a name, and as a number.
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

// Decimal digits, at most one newline after them, below 2^64.
std::optional<std::uint64_t> Number(std::string_view text) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (text.empty()) return std::nullopt;
  unsigned __int128 value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > UINT64_MAX) return std::nullopt;
  }
  return static_cast<std::uint64_t>(value);
}

void Shown(std::string_view bytes, std::size_t limit) {
  const std::string shown = host::Printable(bytes, limit);
  Require(shown.size() <= limit, "no longer than the limit");
  Require(IsShowable(shown), "UTF-8 without control characters");
  Require(host::Printable(shown, limit) == shown, "what can be shown is shown as it is");
  if (shown.find('\\') == std::string::npos && !shown.ends_with("…") && limit >= 4 * bytes.size()) {
    Require(shown == bytes, "nothing is left out in silence");
  }
}

void Taken(std::string_view text, char separator) {
  std::string_view rest = text;
  const std::string_view head = host::TakeUntil(rest, separator);
  Require(head.find(separator) == std::string_view::npos, "a head holds no separator");
  const bool whole = head.size() == text.size();
  Require(
      whole ? rest.empty() : text[head.size()] == separator && rest == text.substr(head.size() + 1),
      "head and rest are the text");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage::fuzz;
  std::string_view text = View(data, size);
  Require(ullage::host::ParseUnsigned(text) == Number(text), "two readers, one number");
  const unsigned limit = TakeByte(text);
  Shown(text, limit);
  Shown(text, 4 * text.size());
  Taken(text, static_cast<char>(limit));
  return 0;
}
