// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup_reclaim.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <thread>

#include "node-agent/host/cgroup.h"
#include "node-agent/model/time.h"

namespace ullage::host {
namespace {

constexpr milliseconds kLook{1};
constexpr seconds kLongest{1};

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

// `fine`: the errno that is no failure.
Status WriteTo(const std::string& path, const std::string& text, int fine) {
  const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return FromErrno(errno, path);
  if (write(file.get(), text.data(), text.size()) >= 0 || errno == fine) return Ok();
  return FromErrno(errno, path);
}

// The signal may come before the write has begun, and is then lost: it is sent until that is over.
Status UnderWatch(const MemoryCgroup& group, Bytes least) {
  const Interruptible interruptible;
  const auto watch = [&group, least, writer = pthread_self(),
                      until = std::chrono::steady_clock::now() +
                              kLongest](const std::stop_token& done) {
    while (!done.stop_requested()) {
      const auto now = group.Usage();
      const bool enough = !now || *now <= least || std::chrono::steady_clock::now() >= until;
      if (enough) pthread_kill(writer, Interruption());
      std::this_thread::sleep_for(kLook);
    }
  };
  const std::jthread watcher(watch);
  return WriteTo(group.path() + "/memory.force_empty", "0", EINTR);
}

}  // namespace

Result<Bytes> ReclaimFrom(const std::string& path, Bytes amount) {
  const auto group = MemoryCgroup::Open(path);
  if (!group) return group.error();
  const auto before = group->Usage();
  if (!before) return before.error();
  const Status taken =
      group->version() == MemoryCgroup::Version::kV2
          // EAGAIN: less was reclaimed than asked for.
          ? WriteTo(path + "/memory.reclaim", std::to_string(amount.count()), EAGAIN)
          : UnderWatch(*group, *before - amount);
  if (!taken) return taken.error();
  const auto after = group->Usage();
  if (!after) return after.error();
  return std::max(*before - *after, Bytes());
}

}  // namespace ullage::host
