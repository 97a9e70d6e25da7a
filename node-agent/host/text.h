// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ullage::host {

/// `bytes` as printable UTF-8: control characters, bytes that are no UTF-8, and characters that
/// reorder text on a terminal become \xNN. At most `limit` bytes, cut between characters and
/// closed with "…" when longer. Where names enter, so that no room behind has to ask again.
std::string Printable(std::string_view bytes, std::size_t limit = 256);

/// Decimal digits and nothing else, one trailing newline allowed; absent on anything else and on
/// overflow. The only way numbers enter from foreign text.
std::optional<std::uint64_t> ParseUnsigned(std::string_view text);

/// `text` up to `separator`, which is removed from `text`; all of it when there is none.
std::string_view TakeUntil(std::string_view& text, char separator);

}  // namespace ullage::host
