// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <type_traits>

#include "node-agent/host/clock.h"
#include "node-agent/model/time.h"

namespace ullage::qemu {

/// One thread that asks questions which may never be answered, and those who watch it.
///
/// libvirt's calls cannot be cut short: a deadline is kept by whoever looks. The thread says when
/// it began to ask; a question open for longer than the deadline is overdue for every reader,
/// while the thread goes on waiting for it.
///
/// Once it has seen the stop, the thread touches nothing that its owner does not share with it;
/// the clock is used in here only, and never after the stop. So a thread that is stuck in a
/// question can be left behind.
class Inquiry {
 public:
  Inquiry(const host::Clock& clock, milliseconds deadline) : clock_(clock), deadline_(deadline) {}
  Inquiry(const Inquiry&) = delete;
  Inquiry& operator=(const Inquiry&) = delete;

  /// Guards this and whatever the thread publishes beside it. Held for moments only.
  std::mutex& mutex() const { return mutex_; }

  // For the thread.

  /// The answer, however late; absent: stop, and ask nothing more.
  template <typename F>
  std::optional<std::invoke_result_t<F>> Ask(const char* what, F&& question) {
    {
      const std::lock_guard lock(mutex_);
      if (SeesStop()) return std::nullopt;
      now_ = clock_.Now();
      question_ = what;
    }
    std::optional<std::invoke_result_t<F>> answer(question());
    const std::lock_guard lock(mutex_);
    const BootTime asked = now_.boot;
    question_ = nullptr;
    if (SeesStop()) return std::nullopt;
    now_ = clock_.Now();
    late_ = now_.boot - asked > deadline_;
    return answer;
  }

  /// Rests for `least`, then until somebody wakes it, at most `most` altogether. False: stop.
  bool Sleep(milliseconds least, milliseconds most);

  /// When the last answer came or the last sleep ended.
  const Moment& now() const { return now_; }
  /// The last answer came after the deadline.
  bool late() const { return late_; }

  /// The thread's last words.
  void Finish();

  // For everybody else; with the mutex held where the name says so.

  struct Overdue {
    const char* question;
    milliseconds age;
  };
  std::optional<Overdue> OverdueLocked(BootTime now) const;
  bool FinishedLocked() const { return finished_; }
  void WakeLocked();
  void Wake();
  void Stop();
  /// After Stop: waits for the thread to end, at most `patience`; then as long as it takes, but
  /// not for an answer. Returns whether it has ended.
  bool AwaitExit(milliseconds patience);

 private:
  bool SeesStop() {
    if (stop_ && !left_) {
      left_ = true;
      changed_.notify_all();
    }
    return stop_;
  }

  const host::Clock& clock_;
  const milliseconds deadline_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Moment now_{};
  const char* question_ = nullptr;  // asked since now_
  bool late_ = false;
  bool awake_ = false;
  bool stop_ = false;
  bool left_ = false;
  bool finished_ = false;
};

}  // namespace ullage::qemu
