// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "node-agent/host/guest_ram.h"
#include "node-agent/model/time.h"

namespace ullage::sources {

/// How one learns whether a page is used: mark it now, ask later.
class PageMarks {
 public:
  PageMarks() = default;
  PageMarks(const PageMarks&) = delete;
  PageMarks& operator=(const PageMarks&) = delete;
  virtual ~PageMarks() = default;
  /// WorkingSet.probe.
  virtual const char* Name() const = 0;
  /// Marks those pages (by address), as far as they let themselves be marked. Which of them did.
  virtual Result<std::vector<bool>> Set(host::GuestMemory& memory,
                                        const std::vector<std::uint64_t>& pages) = 0;
  /// For each of them whether its mark stands: nobody has touched it since. With that its mark
  /// ends.
  virtual Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                          const std::vector<std::uint64_t>& pages) = 0;
  /// How many more can be marked now.
  virtual std::size_t Room() const { return std::numeric_limits<std::size_t>::max(); }
  /// How much later than that it may be until a mark counts and what became of it is known.
  virtual seconds Delay() const { return seconds(0); }
};

/// Documentation/admin-guide/mm/idle_page_tracking.rst: a bit for each page frame, set by its
/// reader and cleared by each use, a virtual CPU's too. Of a huge page only the first frame has
/// one.
class IdleMarks final : public PageMarks {
 public:
  /// kGone: the kernel has none. kDenied: no right to write it, or to see page frame numbers.
  static Result<std::unique_ptr<PageMarks>> Open(const host::Roots& roots);

  const char* Name() const override { return "idle-page"; }
  Result<std::vector<bool>> Set(host::GuestMemory& memory,
                                const std::vector<std::uint64_t>& pages) override;
  Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                  const std::vector<std::uint64_t>& pages) override;

 private:
  explicit IdleMarks(host::Fd bitmap) : bitmap_(std::move(bitmap)) {}
  host::Fd bitmap_;
};

// For those that look at page frames.
bool SeesFrames(const host::Roots& roots);
Error NoFrames();
Result<host::PageEntry> EntryOf(host::GuestMemory& memory, std::uint64_t page);

}  // namespace ullage::sources
