// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/sources/damon.h"
#include "node-agent/sources/page_marks.h"

namespace ullage::sources {

/// Marks of pages that DAMON looks at, frame by frame, for all VMs together. What was marked is
/// told to DAMON, and what it found is asked, in rounds on a thread of its own, for a command waits
/// for DAMON's next look, and each round costs by the number of marks: so that number is limited,
/// and the thread rests long enough to take 1/`share` of a processor at most. A page that is in
/// another frame when it is asked for passes for used.
class DamonMarks final : public PageMarks {
 public:
  /// As Damon::Open says, and kDenied: no right to see page frame numbers.
  static Result<std::unique_ptr<PageMarks>> Open(const host::Roots& roots, const host::Clock& clock,
                                                 seconds cold_after, int share = 100);
  /// `flags`: /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst).
  DamonMarks(std::unique_ptr<FrameWatch> watch, host::Fd flags, const host::Clock& clock,
             seconds cold_after, int share);
  ~DamonMarks() override;

  const char* Name() const override { return "damon"; }
  Result<std::vector<bool>> Set(host::GuestMemory& memory,
                                const std::vector<std::uint64_t>& pages) override;
  Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                  const std::vector<std::uint64_t>& pages) override;
  std::size_t Room() const override;
  seconds Delay() const override;

 private:
  void Run(const std::stop_token& stop);
  Status Round();
  std::vector<std::uint64_t> Wanted();
  bool CanBeMarked(std::uint64_t frame) const;

  std::unique_ptr<FrameWatch> watch_;  // the thread's alone
  host::Fd flags_;
  const host::Clock& clock_;
  seconds cold_after_;
  int share_;
  mutable std::mutex mutex_;  // not held while DAMON is spoken to
  std::condition_variable_any changed_;
  std::map<std::uint64_t, BootTime>
      marks_;  // frame → when it is forgotten, unless it was asked for
  std::unordered_set<std::uint64_t> untouched_;
  seconds round_;  // how long one takes, with the rest after it
  std::optional<Error> fault_;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace ullage::sources
