// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ullage::kube {

/// RFC 4648, padded, line breaks allowed. Absent: it is none.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace ullage::kube
