// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "node-agent/sources/page_marks.h"

namespace ullage::sources {

/// Marks that a test takes away as a guest's use would. Those of pages that are not held never
/// take.
class FakeMarks final : public PageMarks {
 public:
  const char* Name() const override { return "fake"; }
  Result<std::vector<bool>> Set(host::GuestMemory& memory,
                                const std::vector<std::uint64_t>& pages) override {
    if (!stuck) marked.insert(pages.begin(), pages.end());
    return Are(memory, pages);
  }
  Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                  const std::vector<std::uint64_t>& pages) override {
    auto stand = Are(memory, pages);
    for (const std::uint64_t page : pages) marked.erase(page);
    return stand;
  }
  std::size_t Room() const override { return most - std::min(most, marked.size()); }
  seconds Delay() const override { return delay; }

  std::set<std::uint64_t> marked;                              ///< addresses
  bool stuck = false;                                          ///< no page lets itself be marked
  std::size_t most = std::numeric_limits<std::size_t>::max();  ///< marks at a time
  seconds delay{0};

 private:
  Result<std::vector<bool>> Are(host::GuestMemory& memory,
                                const std::vector<std::uint64_t>& pages) const {
    std::vector<bool> stand;
    for (const std::uint64_t page : pages) {
      const auto entries = memory.Pages({page, page + host::kPage});
      if (!entries) return entries.error();
      stand.push_back(entries->front().present() && marked.contains(page));
    }
    return stand;
  }
};

}  // namespace ullage::sources
