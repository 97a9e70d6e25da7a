// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"

namespace ullage::kube {

/// Cuts a stream into lines, however its pieces fall. What follows the last line's end is held
/// back.
class LineFramer {
 public:
  explicit LineFramer(std::size_t limit) : limit_(limit) {}

  /// Calls `on_line` with each line that `piece` completes; empty ones are passed over. Stops at
  /// the first error. kExhausted: a line is longer than the limit.
  Status Feed(std::string_view piece, const std::function<Status(std::string_view)>& on_line) {
    for (;;) {
      const std::size_t end = piece.find('\n');
      const std::string_view part = piece.substr(0, end);
      if (held_.size() + part.size() > limit_) {
        return Error(Code::kExhausted, "a line of more than " + std::to_string(limit_) + " bytes");
      }
      if (end == std::string_view::npos) {
        held_ += part;
        return Ok();
      }
      piece.remove_prefix(end + 1);
      Status taken = Take(part, on_line);
      held_.clear();
      if (!taken) return taken;
    }
  }

 private:
  Status Take(std::string_view part, const std::function<Status(std::string_view)>& on_line) {
    if (held_.empty()) return part.empty() ? Ok() : on_line(part);
    held_ += part;
    return on_line(held_);
  }

  std::size_t limit_;
  std::string held_;
};

}  // namespace ullage::kube
