// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/damon_marks.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "node-agent/kube/threads.h"

namespace ullage::sources {
namespace {

using std::chrono::nanoseconds;

constexpr int kLooks = 60;         // in the time after which a page is cold
constexpr int kUntouched = 48;     // so many of them found nothing: they may come late
constexpr int kLooksOfARound = 6;  // at most, for its two commands
constexpr seconds kRetry{60};
// Bits of /proc/kpageflags.
constexpr std::uint64_t kOnList = std::uint64_t{1} << 5;
constexpr std::uint64_t kTail = std::uint64_t{1} << 16;

milliseconds Interval(seconds cold_after) { return milliseconds(cold_after) / kLooks; }

nanoseconds SpentByThisThread() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return seconds(spent.tv_sec) + nanoseconds(spent.tv_nsec);
}

}  // namespace

Result<std::unique_ptr<PageMarks>> DamonMarks::Open(const host::Roots& roots,
                                                    const host::Clock& clock, seconds cold_after,
                                                    int share) {
  const std::string path = roots.proc + "/kpageflags";
  host::Fd flags(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!flags.valid()) return host::FromErrno(errno, path);
  if (!SeesFrames(roots)) return NoFrames();
  auto watch = Damon::Open(roots.mm, Interval(cold_after), kUntouched);
  if (!watch) return watch.error();
  return std::unique_ptr<PageMarks>(
      std::make_unique<DamonMarks>(*std::move(watch), std::move(flags), clock, cold_after, share));
}

DamonMarks::DamonMarks(std::unique_ptr<FrameWatch> watch, host::Fd flags, const host::Clock& clock,
                       seconds cold_after, int share)
    : watch_(std::move(watch)),
      flags_(std::move(flags)),
      clock_(clock),
      cold_after_(cold_after),
      share_(share),
      round_(std::chrono::ceil<seconds>(Interval(cold_after) * kLooksOfARound)) {
  const kube::SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

DamonMarks::~DamonMarks() = default;

// A tail's flags are not those of the huge page that it is a part of; older kernels look at no
// tail, and would call it unused. What is on no list DAMON does not look at either.
bool DamonMarks::CanBeMarked(std::uint64_t frame) const {
  std::uint64_t flags = 0;
  const auto at = static_cast<off_t>(frame * sizeof flags);
  if (pread(flags_.get(), &flags, sizeof flags, at) != sizeof flags) return false;
  return (flags & kOnList) != 0 && (flags & kTail) == 0;
}

Result<std::vector<bool>> DamonMarks::Set(host::GuestMemory& memory,
                                          const std::vector<std::uint64_t>& pages) {
  const BootTime forgotten = clock_.Now().boot + 2 * (cold_after_ + Delay());
  std::vector<bool> took;
  for (const std::uint64_t page : pages) {
    const auto entry = EntryOf(memory, page);
    if (!entry) return entry.error();
    if (entry->present() && entry->frame() == 0) return NoFrames();
    const bool can = entry->present() && CanBeMarked(entry->frame());
    const std::lock_guard lock(mutex_);
    if (fault_) return *fault_;
    took.push_back(can && (marks_.size() < Damon::kMost || marks_.contains(entry->frame())));
    if (!took.back()) continue;
    marks_[entry->frame()] = forgotten;
    untouched_.erase(entry->frame());
  }
  return took;
}

Result<std::vector<bool>> DamonMarks::Stand(host::GuestMemory& memory,
                                            const std::vector<std::uint64_t>& pages) {
  std::vector<bool> stand;
  for (const std::uint64_t page : pages) {
    const auto entry = EntryOf(memory, page);
    if (!entry) return entry.error();
    const std::lock_guard lock(mutex_);
    stand.push_back(marks_.erase(entry->frame()) > 0 && untouched_.contains(entry->frame()));
  }
  return stand;
}

std::size_t DamonMarks::Room() const {
  const std::lock_guard lock(mutex_);
  return Damon::kMost - marks_.size();
}

// One round until it is looked at, another one until what was seen is known.
seconds DamonMarks::Delay() const {
  const std::lock_guard lock(mutex_);
  return 2 * round_;
}

void DamonMarks::Run(const std::stop_token& stop) {
  nanoseconds rest = Interval(cold_after_);
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, rest, [] { return false; });
    }
    if (stop.stop_requested()) return;
    const BootTime began = clock_.Now().boot;
    const nanoseconds before = SpentByThisThread();
    const Status done = Round();
    rest =
        done ? std::max<nanoseconds>((SpentByThisThread() - before) * share_, Interval(cold_after_))
             : nanoseconds(kRetry);
    const std::lock_guard lock(mutex_);
    fault_ = done ? std::nullopt : std::optional(done.error());
    const seconds took = std::chrono::ceil<seconds>(clock_.Now().boot - began + rest);
    round_ = std::max(took, (3 * round_ + took) / 4);
  }
}

std::vector<std::uint64_t> DamonMarks::Wanted() {
  const BootTime now = clock_.Now().boot;
  const std::lock_guard lock(mutex_);
  std::erase_if(marks_, [&](const auto& mark) { return mark.second <= now; });
  std::vector<std::uint64_t> frames;
  for (const auto& [frame, forgotten] : marks_) frames.push_back(frame);
  return frames;
}

Status DamonMarks::Round() {
  const std::vector<std::uint64_t> frames = Wanted();
  if (Status watched = watch_->Watch(frames); !watched) return watched;
  if (frames.empty()) return Ok();
  const auto untouched = watch_->Untouched();
  if (!untouched) return untouched.error();
  const std::lock_guard lock(mutex_);
  untouched_ = {untouched->begin(), untouched->end()};
  return Ok();
}

}  // namespace ullage::sources
