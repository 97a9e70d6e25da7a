// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/screen.h"

#include <algorithm>

namespace ullage::clients {

Screen::~Screen() {
  if (terminal_ && shown_ > 0) out_ << "\x1b[?25h" << std::flush;
}

bool Screen::Show(std::vector<std::string> lines, int rows, int columns) {
  if (!terminal_) {
    if (shown_ > 0) out_ << '\n';
    for (const std::string& line : lines) out_ << line << '\n';
    shown_ = lines.size();
    return static_cast<bool>(out_.flush());
  }
  // The last row stays free: a line end there would scroll the frame's head away.
  const std::size_t room = rows > 2 ? static_cast<std::size_t>(rows - 1) : 1;
  if (lines.size() > room) {
    const std::size_t hidden = lines.size() - room + 1;
    lines.resize(room);
    lines.back() = "and " + std::to_string(hidden) + " more lines";
  }
  std::string frame = "\x1b[?25l";
  if (shown_ > 0 && columns != columns_) {
    frame += "\x1b[H\x1b[2J";  // resized: the terminal has wrapped what was there
  } else if (shown_ > 0) {
    frame += "\x1b[" + std::to_string(std::min(shown_, room)) + "A\r";
  }
  for (const std::string& line : lines) frame += line + "\x1b[K\n";
  frame += "\x1b[J";
  shown_ = lines.size();
  columns_ = columns;
  return static_cast<bool>(out_ << frame << std::flush);
}

}  // namespace ullage::clients
