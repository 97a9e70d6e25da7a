// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

namespace ullage::host {

/// write(2) where the kernel may work for long before it returns, as where it reclaims memory
/// first: ended by a signal as soon as `enough`, asked each millisecond, says so. Returns 0, or the
/// errno; EINTR: it was ended.
int WriteUntil(int file, std::string_view text, const std::function<bool()>& enough);

}  // namespace ullage::host
