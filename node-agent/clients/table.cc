// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/table.h"

#include <clocale>
#include <cwchar>

#include <algorithm>
#include <limits>

namespace ullage::clients {
namespace {

constexpr std::string_view kGap = "  ";
constexpr std::string_view kEllipsis = "…";

struct Glyph {
  std::string_view bytes;  // '?' for what must not reach a terminal
  std::size_t length = 1;  // in the text
  int width = 1;
};

// The character tables of glibc, whatever locale the caller runs in. Null where C.UTF-8 is missing:
// then every character counts as one column.
locale_t Utf8Locale() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
  return locale;
}

class InUtf8 {
 public:
  InUtf8() : before_(Utf8Locale() == locale_t{} ? locale_t{} : uselocale(Utf8Locale())) {}
  InUtf8(const InUtf8&) = delete;
  InUtf8& operator=(const InUtf8&) = delete;
  ~InUtf8() {
    if (before_ != locale_t{}) uselocale(before_);
  }

 private:
  const locale_t before_;
};

bool ActsOnTerminal(wchar_t c) {
  const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  const bool reorders =
      (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  return control || reorders;
}

// Within InUtf8.
Glyph Next(std::string_view text) {
  wchar_t wide = 0;
  std::mbstate_t state{};
  const std::size_t length = std::mbrtowc(&wide, text.data(), text.size(), &state);
  const bool decoded = length != 0 && length <= text.size();
  if (!decoded) return {"?", 1, 1};
  if (ActsOnTerminal(wide)) return {"?", length, 1};
  const int width = wcwidth(wide);
  if (width < 0) return {"?", length, 1};
  return {text.substr(0, length), length, width};
}

std::string Pad(std::string_view text, int width, bool right) {
  const std::string fitted = Fit(text, width);
  const auto missing = static_cast<std::size_t>(std::max(width - DisplayWidth(fitted), 0));
  return right ? std::string(missing, ' ') + fitted : fitted + std::string(missing, ' ');
}

// How wide each column is shown; −1: left out.
class Layout {
 public:
  Layout(const Table& table, int width) : table_(table) {
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      int widest = DisplayWidth(table.columns[c].title);
      for (const auto& row : table.rows) widest = std::max(widest, DisplayWidth(row[c].text));
      widths_.push_back(widest);
    }
    if (width <= 0) return;
    while (Total() > width && (Shrink(Total() - width) || Drop())) {
    }
    if (Total() > width) Cut(width);
  }

  const std::vector<int>& widths() const { return widths_; }

 private:
  int Total() const {
    int total = 0;
    for (const int w : widths_) {
      if (w >= 0) total += w + (total > 0 ? static_cast<int>(kGap.size()) : 0);
    }
    return total;
  }

  bool Shrink(int excess) {
    for (std::size_t c = 0; c < widths_.size(); ++c) {
      const int least = table_.columns[c].least;
      if (least == 0 || widths_[c] <= least) continue;
      widths_[c] = std::max(least, widths_[c] - excess);
      return true;
    }
    return false;
  }

  bool Drop() {
    std::size_t worst = widths_.size();
    int rank = 0;
    for (std::size_t c = 0; c < widths_.size(); ++c) {
      if (widths_[c] < 0 || table_.columns[c].rank <= rank) continue;
      rank = table_.columns[c].rank;
      worst = c;
    }
    if (worst == widths_.size()) return false;
    widths_[worst] = -1;
    return true;
  }

  // Narrower than anybody works in: every column left gets what is left, from the first on.
  void Cut(int width) {
    for (int& w : widths_) {
      if (w < 0) continue;
      w = std::min(w, width);
      if (w <= 0) w = -1;
      width -= w + static_cast<int>(kGap.size());
    }
  }

  const Table& table_;
  std::vector<int> widths_;
};

void TrimRight(std::string& line) { line.erase(line.find_last_not_of(' ') + 1); }

}  // namespace

int DisplayWidth(std::string_view text) {
  const InUtf8 scope;
  int width = 0;
  while (!text.empty()) {
    const Glyph glyph = Next(text);
    width += glyph.width;
    text.remove_prefix(glyph.length);
  }
  return width;
}

std::string Fit(std::string_view text, int width) {
  if (width <= 0) return "";
  const InUtf8 scope;
  std::string out;
  std::size_t fits = 0;  // how much of `out` leaves room for the ellipsis
  int used = 0;
  while (!text.empty()) {
    const Glyph glyph = Next(text);
    if (used + glyph.width > width) {
      out.resize(fits);
      return out.append(kEllipsis);
    }
    used += glyph.width;
    out += glyph.bytes;
    if (used <= width - 1) fits = out.size();
    text.remove_prefix(glyph.length);
  }
  return out;
}

std::string Paint(std::string_view text, Tone tone, bool color) {
  if (!color || tone == Tone::kPlain) return std::string(text);
  const char* code = tone == Tone::kDim    ? "2"
                     : tone == Tone::kGood ? "32"
                     : tone == Tone::kWarn ? "33"
                                           : "31";
  return std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m";
}

std::vector<std::string> Render(const Table& table, int width, bool color) {
  const Layout layout(table, width);
  const auto line = [&](const auto& cell_of) {
    std::string out;
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      if (layout.widths()[c] < 0) continue;
      if (!out.empty()) out += kGap;
      const Cell cell = cell_of(c);
      out += Paint(Pad(cell.text, layout.widths()[c], table.columns[c].right), cell.tone, color);
    }
    TrimRight(out);
    return out;
  };
  std::vector<std::string> lines;
  lines.push_back(line([&](std::size_t c) { return Cell{table.columns[c].title, Tone::kDim}; }));
  for (const auto& row : table.rows) {
    lines.push_back(line([&](std::size_t c) { return row[c]; }));
  }
  return lines;
}

}  // namespace ullage::clients
