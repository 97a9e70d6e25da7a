// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ucontext.h>

#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/kube/pause.h"

namespace ullage::simulation {

/// Many threads on one clock, without threads: a body runs until it waits, then the clock goes on
/// to whoever is due next. So code that blocks (the agent's own WatchLoop, Client and writers) runs
/// unchanged, by thousands, in virtual time, and the same way in each run.
class VirtualTime final : public host::Clock, public kube::Pause {
 public:
  /// Since the machine booted; 0 would be a time at which nobody ever looked.
  explicit VirtualTime(milliseconds start) : now_(start) {}
  ~VirtualTime() override;

  Moment Now() const override;
  milliseconds now() const { return now_; }

  using Id = std::size_t;
  /// From now on, as if on a thread of its own. No exception may leave it.
  void Begin(std::function<void()> body);
  /// Until all that is due before `end` has happened, and the clock is there.
  void RunUntil(milliseconds end);
  /// Until every body has returned. They have to be told to, by a stop token.
  void RunOut();

  // For bodies.
  bool For(milliseconds rest, const std::stop_token& stop) override;
  /// False: nobody woke it before `end`.
  bool WaitUntil(milliseconds end);
  Id Self() const { return running_; }

  /// From anywhere; nothing, where it does not wait.
  void Wake(Id id);
  void WakeAll();

 private:
  struct Thread {
    std::function<void()> body;
    std::unique_ptr<ucontext_t> context;
    void* stack = nullptr;
    std::uint64_t turn = 0;  // so that a wake that came too late is known for one
    bool woken = false;
    bool done = false;
  };
  struct Due {
    milliseconds at;
    std::uint64_t order;  // of those at the same time, the first to ask
    Id id;
    std::uint64_t turn;
    bool operator>(const Due& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  static void Enter();
  void Schedule(Id id, milliseconds at);
  void Resume(Id id);

  milliseconds now_;
  std::deque<Thread> threads_;  // they stay where they are: a body is inside of one
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::uint64_t orders_ = 0;
  std::size_t live_ = 0;
  Id running_ = 0;
  ucontext_t back_{};
};

}  // namespace ullage::simulation
