// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace ullage::clients {

/// "90s", "10m", "2h", "1d": a number and its unit; at most a day. kInvalid otherwise.
Result<seconds> ParseSpan(std::string_view text);

/// RFC 3339 ("2026-11-21T08:30:00Z", "2026-11-21T09:30:00+01:00", a fraction of a second is passed
/// over), or a span before `now` ("-10m"). kInvalid otherwise, and before 1970 or after 2200.
Result<WallTime> ParseMoment(std::string_view text, WallTime now);

}  // namespace ullage::clients
