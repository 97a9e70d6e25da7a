// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <vector>

#include "node-agent/sources/page_marks.h"

namespace ullage::sources {

/// Marks that a test takes away as a guest's use would. Those of pages that are not held never
/// take.
class FakeMarks final : public PageMarks {
 public:
  const char* Name() const override { return "fake"; }
  Status Set(host::GuestMemory&, const std::vector<std::uint64_t>& pages) override {
    if (!stuck) marked.insert(pages.begin(), pages.end());
    return Ok();
  }
  Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                  const std::vector<std::uint64_t>& pages) override {
    std::vector<bool> stand;
    for (const std::uint64_t page : pages) {
      const auto entries = memory.Pages({page, page + host::kPage});
      if (!entries) return entries.error();
      stand.push_back(entries->front().present() && marked.contains(page));
    }
    return stand;
  }

  std::set<std::uint64_t> marked;  ///< addresses
  bool stuck = false;              ///< no page lets itself be marked
};

}  // namespace ullage::sources
