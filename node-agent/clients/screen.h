// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace ullage::clients {

/// Shows one frame after another: in place on a terminal, one below the other elsewhere.
class Screen {
 public:
  Screen(std::ostream& out, bool terminal) : out_(out), terminal_(terminal) {}
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  /// Gives the cursor back; the last frame stays.
  ~Screen();

  /// `rows` and `columns` of the terminal now; what does not fit in its height is left out and
  /// counted. False when nobody reads any more.
  bool Show(std::vector<std::string> lines, int rows, int columns);

 private:
  std::ostream& out_;
  const bool terminal_;
  std::size_t shown_ = 0;  // lines of the last frame
  int columns_ = 0;        // of the terminal then
};

}  // namespace ullage::clients
