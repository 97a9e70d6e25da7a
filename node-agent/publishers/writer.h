// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "node-agent/kube/client.h"
#include "node-agent/model/plan.h"

namespace ullage::publishers {

/// What came of a publisher's writes.
struct WriteCounts {
  std::uint64_t written = 0;  ///< requests that the API server took
  std::uint64_t failed = 0;
  std::uint64_t dropped = 0;  ///< what is not worth another try
};

/// For the log: a fault is said when it begins and when it ends. From the publisher's thread.
using Voice = std::function<void(const std::string&)>;

/// One kind of object that is kept at what the latest report says. Level-triggered: it compares
/// what should be with what is, so a report that it never saw is no loss, and an API server that
/// was away gets one write with the latest value. For one thread, but for Counts().
class Writer {
 public:
  Writer(const char* name, const kube::Client& client, Voice voice)
      : name_(name), client_(client), voice_(std::move(voice)) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  virtual ~Writer() = default;

  /// Writes what the report asks for, if anything. `stop` ends a call at once.
  virtual void Step(const Report& report, const std::stop_token& stop) = 0;
  /// The last word before the agent ends.
  virtual void Retire(const Report&) {}

  const char* name() const { return name_; }
  WriteCounts Counts() const;

 protected:
  const kube::Client& client() const { return client_; }
  BootTime Now() const { return client_.timing().clock.Now().boot; }
  /// False: the last write failed, and it is not yet time for another.
  bool MayWrite() const { return !not_before_ || Now() >= *not_before_; }
  /// Counts what came of a write, says it when that has changed, and sets when the next may be. A
  /// write that was ended by `stop` is neither.
  void Note(const Status& status, const std::stop_token& stop);
  void CountDropped() { ++dropped_; }
  void Say(const std::string& line) const {
    if (voice_) voice_(std::string(name_) + ": " + line);
  }

 private:
  const char* const name_;
  const kube::Client& client_;
  const Voice voice_;
  std::optional<BootTime> not_before_;
  std::optional<Code> fault_;
  unsigned failures_ = 0;
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace ullage::publishers
