// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/interrupted_write.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "node-agent/model/time.h"

namespace ullage::host {
namespace {

constexpr milliseconds kLook{1};

// Interrupts a system call, and does nothing else.
int Interruption() {
  static const int number = [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigemptyset(&action.sa_mask);
    sigaction(SIGRTMAX, &action, nullptr);
    return SIGRTMAX;
  }();
  return number;
}

// While it lives, this thread takes the interruption: threads of an agent block all signals.
class Interruptible {
 public:
  Interruptible() {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, Interruption());
    pthread_sigmask(SIG_UNBLOCK, &one, &before_);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  ~Interruptible() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

// The signal may come before the write has begun, and is then lost: it is sent until that is over.
int WriteUntil(int file, std::string_view text, const std::function<bool()>& enough) {
  const Interruptible interruptible;
  const std::jthread watcher([&enough, writer = pthread_self()](const std::stop_token& over) {
    while (!over.stop_requested()) {
      std::this_thread::sleep_for(kLook);
      if (enough()) pthread_kill(writer, Interruption());
    }
  });
  return write(file, text.data(), text.size()) < 0 ? errno : 0;
}

}  // namespace ullage::host
