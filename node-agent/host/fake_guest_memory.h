// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "node-agent/host/guest_ram.h"

namespace ullage::host {

/// A guest of `pages` pages in one range, each in the frame 100 + its number; for tests.
class FakeGuestMemory : public GuestMemory {
 public:
  static constexpr std::uint64_t kBegin = std::uint64_t{1} << 40;

  explicit FakeGuestMemory(std::size_t pages) : ranges_{{kBegin, kBegin + pages * kPage}} {
    held.assign(pages, true);
  }
  const std::vector<AddressRange>& Ranges() const override { return ranges_; }
  Result<std::vector<PageEntry>> Pages(AddressRange range) override {
    if (gone) return Error(Code::kGone, "ended");
    std::vector<PageEntry> entries;
    for (std::uint64_t page = At(range.begin); page < At(range.end); ++page) {
      const std::uint64_t frame = frames ? 100 + page : 0;
      entries.push_back({held[page] ? std::uint64_t{1} << 63 | frame : 0});
    }
    return entries;
  }
  Status Advise(const std::vector<AddressRange>& advised, Advice advice) override {
    if (gone) return Error(Code::kGone, "ended");
    for (const AddressRange& range : advised) {
      for (std::uint64_t page = At(range.begin); page < At(range.end); ++page) {
        if (advice == Advice::kPageOut && held[page] && !stays) {
          held[page] = false;
          ++paged_out;
        }
        if (advice == Advice::kCold) ++aged;
        if (advice == Advice::kWillNeed && !held[page]) {
          held[page] = true;
          ++fetched;
        }
      }
    }
    return Ok();
  }
  static std::uint64_t At(std::uint64_t address) { return (address - kBegin) / kPage; }

  std::vector<bool> held;
  bool stays = false;  ///< there is no swap
  bool gone = false;
  bool frames = true;  ///< CAP_SYS_ADMIN
  std::size_t paged_out = 0;
  std::size_t fetched = 0;
  std::size_t aged = 0;

 private:
  std::vector<AddressRange> ranges_;
};

}  // namespace ullage::host
