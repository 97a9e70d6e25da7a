// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>

#include "node-agent/model/bytes.h"

namespace ullage::publishers {

/// Whether a size moved by what is worth a word: 64 MiB and a sixteenth of what it was. A guest
/// breathes.
constexpr bool Moved(Bytes before, Bytes now) {
  const Bytes size = std::max(before, Bytes() - before);
  return std::max(before, now) - std::min(before, now) >
         std::max(Bytes::MiB(64), Bytes(size.count() / 16));
}
constexpr bool Moved(const std::optional<Bytes>& before, const std::optional<Bytes>& now) {
  return before && now ? Moved(*before, *now) : before.has_value() != now.has_value();
}

}  // namespace ullage::publishers
