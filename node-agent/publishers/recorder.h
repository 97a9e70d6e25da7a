// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "node-agent/publishers/bulletin.h"
#include "node-agent/publishers/decisions.h"
#include "node-agent/publishers/history.h"

namespace ullage::publishers {

struct RecorderOptions {
  std::string state_dir;                          ///< files are made below it, in `past/`
  std::function<void(const std::string&)> say{};  ///< faults when they begin and end; its thread
};

struct RecorderCounts {
  std::uint64_t records = 0;  ///< reports that were looked at and, where needed, written down
  std::uint64_t failed = 0;
};

/// Writes down what is decided, on a thread of its own: a slow disk delays no tick. Reads it back
/// for whoever asks.
class Recorder {
 public:
  /// `bulletin` must outlive it. Starts at once; files are made with the first report.
  Recorder(RecorderOptions options, const Bulletin& bulletin);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder();

  RecorderCounts Counts() const { return {records_, failed_}; }

  /// From any thread. Errors: kNotFound: nothing so old, or no such VM then; those of Explain().
  Result<v1::Explanation> ExplainAt(std::string_view vm, WallTime at) const;
  v1::History HistoryOver(seconds horizon) const;

 private:
  void Run(const std::stop_token& stop);
  void Note(const Status& status);

  const DecisionsOptions decisions_;
  const SegmentOptions history_;
  const std::function<void(const std::string&)> say_;
  const Bulletin& bulletin_;
  bool faulty_ = false;
  std::atomic<std::uint64_t> records_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace ullage::publishers
