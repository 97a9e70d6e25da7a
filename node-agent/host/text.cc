// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/text.h"

#include <algorithm>
#include <charconv>

namespace ullage::host {
namespace {

constexpr std::string_view kEllipsis = "…";

struct Character {
  char32_t code = 0;
  std::size_t length = 0;  // 0: no UTF-8
};

// RFC 3629: no overlong forms, no surrogates, at most U+10FFFF.
Character Decode(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
  if (length == 0 || lead > 0xF4 || bytes.size() < length) return {};
  char32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[length] || surrogate || code > 0x10FFFF) return {};
  return {code, length};
}

bool Shown(char32_t code) {
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return false;  // C0, DEL, C1
  if (code >= 0x200B && code <= 0x200F) return false;              // zero width, direction marks
  if (code >= 0x2028 && code <= 0x202E) return false;              // line breaks, overrides
  if (code >= 0x2060 && code <= 0x206F) return false;              // isolates
  return code != 0xFEFF;
}

bool Plain(char c) { return c >= 0x20 && c < 0x7F; }

void AppendEscaped(std::string& out, std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const char c : bytes) {
    const auto value = static_cast<unsigned char>(c);
    out += {'\\', 'x', kHex[value >> 4], kHex[value & 15]};
  }
}

}  // namespace

std::string Printable(std::string_view bytes, std::size_t limit) {
  // Nearly everything is, and much is shown again each second.
  if (bytes.size() <= limit && std::all_of(bytes.begin(), bytes.end(), Plain)) {
    return std::string(bytes);
  }
  std::string out;
  std::size_t fits = 0;  // how much of `out` stays when the ellipsis is needed
  while (!bytes.empty()) {
    const Character c = Decode(bytes);
    const std::string_view piece = bytes.substr(0, c.length == 0 ? 1 : c.length);
    if (c.length != 0 && Shown(c.code)) {
      out += piece;
    } else {
      AppendEscaped(out, piece);
    }
    bytes.remove_prefix(piece.size());
    if (out.size() > limit) {
      out.resize(fits);
      return limit < kEllipsis.size() ? out : out.append(kEllipsis);
    }
    if (out.size() + kEllipsis.size() <= limit) fits = out.size();
  }
  return out;
}

std::optional<std::uint64_t> ParseUnsigned(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

std::string_view TakeUntil(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  return head;
}

}  // namespace ullage::host
