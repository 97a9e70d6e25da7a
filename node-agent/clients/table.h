// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ullage::clients {

/// How a cell is shown where colours are.
enum class Tone { kPlain, kDim, kGood, kWarn, kBad };

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

struct Column {
  std::string title;
  bool right = false;  ///< aligned
  int least = 0;       ///< may shrink to this many columns of the terminal; 0: never shrinks
  int rank = 0;        ///< when the terminal is too narrow, the highest rank goes first; 0 never
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  ///< each as long as `columns`
};

/// How many columns of a terminal `text` takes: wide characters take two, combining ones none.
/// Control characters and bytes that are no UTF-8 count as the one '?' that Fit makes of them.
int DisplayWidth(std::string_view text);

/// `text` in at most `width` columns, never cut inside a character; ends in "…" when cut. Whatever
/// a terminal would act on becomes '?'.
std::string Fit(std::string_view text, int width);

/// The title line and one line a row, without line ends, each at most `width` columns; width 0 is
/// unlimited. Shrinks first, then leaves columns out.
std::vector<std::string> Render(const Table& table, int width, bool color);

/// `text` in the colour of `tone`, or as it is.
std::string Paint(std::string_view text, Tone tone, bool color);

}  // namespace ullage::clients
