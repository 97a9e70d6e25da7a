// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage::host {

/// "512MiB" → bytes; absent when it is no size. Units: none or B, KiB, MiB, GiB, TiB.
std::optional<Bytes> ParseSize(std::string_view text);
/// "2.5%" → 250.
std::optional<Permyriad> ParseShare(std::string_view text);
/// "250ms", "5m".
std::optional<milliseconds> ParseDuration(std::string_view text);

}  // namespace ullage::host
