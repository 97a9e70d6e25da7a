// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace ullage::sources {

/// Which of some page frames nobody uses.
class FrameWatch {
 public:
  FrameWatch() = default;
  FrameWatch(const FrameWatch&) = delete;
  FrameWatch& operator=(const FrameWatch&) = delete;
  virtual ~FrameWatch() = default;
  /// These from now on (ascending, each once, at most Damon::kMost), and no others. One that was
  /// watched already stays so without a break. None: nothing is watched, and it costs nothing.
  virtual Status Watch(const std::vector<std::uint64_t>& frames) = 0;
  /// Those that were watched and not used for as long as it was opened for.
  virtual Result<std::vector<std::uint64_t>> Untouched() = 0;
};

/// The kernel's DAMON by its sysfs (Documentation/admin-guide/mm/damon/usage.rst), looking at
/// physical memory. DAMON samples one page of a region and takes it for all of it, so each region
/// here is one page: nothing is guessed. Such a region is never split, and as DAMON is told that so
/// many are wanted, none is merged with its neighbour. It asks all that maps a page, a virtual
/// CPU's tables too, and changes no mapping. What is left when an agent dies looks on, a few
/// thousand pages each interval, until the next agent finds it by its mark and ends it.
class Damon final : public FrameWatch {
 public:
  static constexpr std::size_t kMost = 4096;

  /// kGone: the kernel has none, or one that does not say which regions fit (before Linux 6.2).
  /// kDenied: no right to write there. kExists: another program uses it; there is one for all.
  /// `mm` is Roots::mm.
  static Result<std::unique_ptr<FrameWatch>> Open(const std::string& mm, milliseconds interval,
                                                  std::uint32_t intervals);
  ~Damon() override;

  Status Watch(const std::vector<std::uint64_t>& frames) override;
  /// Takes two to three intervals.
  Result<std::vector<std::uint64_t>> Untouched() override;

 private:
  Damon(std::string folder, host::Fd lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}
  Status SetUp(milliseconds interval, std::uint32_t intervals) const;
  Status WriteRegions(const std::vector<std::uint64_t>& frames) const;
  Status Command(const char* command) const;
  Result<bool> Runs() const;

  std::string folder_;  // of all kdamonds; ours is 0
  host::Fd lock_;
  bool on_ = false;
};

}  // namespace ullage::sources
