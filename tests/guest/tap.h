// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ullage::tests {

/// What a program inside a guest says in TAP: nothing failed, nothing was skipped, at least
/// `least` checks, and it came to its end. Lines of the guest's kernel may stand between.
void ExpectTap(const std::string& text, int least);

}  // namespace ullage::tests
