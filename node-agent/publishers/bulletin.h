// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>

#include "node-agent/model/plan.h"
#include "node-agent/model/time.h"

namespace ullage::publishers {

/// The latest report, for every publisher's threads. One writer (the tick), many readers; a reader
/// holds what it took for as long as it likes.
class Bulletin {
 public:
  void Post(std::shared_ptr<const Report> report) {
    {
      const std::lock_guard lock(mutex_);
      latest_ = std::move(report);
    }
    changed_.notify_all();
  }

  /// Null before the first tick.
  std::shared_ptr<const Report> Latest() const {
    const std::lock_guard lock(mutex_);
    return latest_;
  }

  /// The first report newer than tick `seen`; null when closed or when `stop` is requested. Nobody
  /// wakes in between.
  std::shared_ptr<const Report> Newer(std::uint64_t seen, const std::stop_token& stop) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return Ended(seen); });
    return closed_ || stop.stop_requested() ? nullptr : latest_;
  }
  /// The same for a reader that nothing can wake; null also after `patience`.
  std::shared_ptr<const Report> Newer(std::uint64_t seen, milliseconds patience) const {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, patience, [&] { return Ended(seen); });
    return came && !closed_ ? latest_ : nullptr;
  }

  /// Ends every wait, for good.
  void Close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  bool Ended(std::uint64_t seen) const { return closed_ || (latest_ && latest_->tick > seen); }

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::shared_ptr<const Report> latest_;
  bool closed_ = false;
};

}  // namespace ullage::publishers
