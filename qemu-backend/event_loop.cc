// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/event_loop.h"

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "node-agent/host/file.h"
#include "qemu-backend/thread.h"

namespace ullage::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::uint32_t ToEpoll(int events) {
  std::uint32_t native = 0;
  if ((events & VIR_EVENT_HANDLE_READABLE) != 0) native |= EPOLLIN;
  if ((events & VIR_EVENT_HANDLE_WRITABLE) != 0) native |= EPOLLOUT;
  return native;  // errors and ends come unasked
}

int FromEpoll(std::uint32_t native) {
  int events = 0;
  if ((native & EPOLLIN) != 0) events |= VIR_EVENT_HANDLE_READABLE;
  if ((native & EPOLLOUT) != 0) events |= VIR_EVENT_HANDLE_WRITABLE;
  if ((native & EPOLLERR) != 0) events |= VIR_EVENT_HANDLE_ERROR;
  if ((native & EPOLLHUP) != 0) events |= VIR_EVENT_HANDLE_HANGUP;
  return events;
}

// What frees a callback's argument, to be called by the loop.
struct Argument {
  void* opaque;
  virFreeCallback free;
};

struct Handle {
  int fd;               // libvirt's
  host::Fd own;         // epoll takes a descriptor once: a duplicate, where it is watched twice
  std::uint32_t asked;  // 0: not in the epoll set, for ends would come all the same
  virEventHandleCallback call;
  Argument argument;
};

struct Timer {
  std::optional<milliseconds> every;  // absent: it rests
  steady_clock::time_point due;
  virEventTimeoutCallback call;
  Argument argument;
};

class EventLoop {
 public:
  Status Open() {
    epoll_ = host::Fd(epoll_create1(EPOLL_CLOEXEC));
    wake_ = host::Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll_.valid() || !wake_.valid()) return host::FromErrno(errno, "event loop");
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
      return host::FromErrno(errno, "event loop");
    }
    return Ok();
  }
  [[noreturn]] void Run() {
    for (;;) {
      std::array<epoll_event, 64> ready{};
      const int count =
          epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), Patience());
      for (int i = 0; i < count; ++i) Dispatch(ready[static_cast<std::size_t>(i)]);
      FireTimers();
      FreeArguments();
    }
  }

  int AddHandle(int fd, int events, virEventHandleCallback call, Argument argument) {
    const std::lock_guard lock(mutex_);
    const int watch = ++last_;
    Handle& handle = handles_[watch] = {fd, {}, 0, call, argument};
    if (Ask(watch, handle, ToEpoll(events))) return watch;
    handles_.erase(watch);  // its argument stays the caller's
    return -1;
  }
  void UpdateHandle(int watch, int events) {
    const std::lock_guard lock(mutex_);
    const auto known = handles_.find(watch);
    if (known != handles_.end()) Ask(watch, known->second, ToEpoll(events));
  }
  int RemoveHandle(int watch) {
    const std::lock_guard lock(mutex_);
    const auto known = handles_.find(watch);
    if (known == handles_.end()) return -1;
    Ask(watch, known->second, 0);
    Bury(known->second.argument);
    handles_.erase(known);
    return 0;
  }

  int AddTimer(int every, virEventTimeoutCallback call, Argument argument) {
    const std::lock_guard lock(mutex_);
    const int id = ++last_;
    timers_[id] = {{}, {}, call, argument};
    Set(id, timers_[id], every);
    return id;
  }
  void UpdateTimer(int id, int every) {
    const std::lock_guard lock(mutex_);
    const auto known = timers_.find(id);
    if (known != timers_.end()) Set(id, known->second, every);
  }
  int RemoveTimer(int id) {
    const std::lock_guard lock(mutex_);
    const auto known = timers_.find(id);
    if (known == timers_.end()) return -1;
    Set(id, known->second, -1);
    Bury(known->second.argument);
    timers_.erase(known);
    return 0;
  }

 private:
  // Makes epoll ask for `asked`. With the mutex held, as all below but the loop's own four.
  bool Ask(int watch, Handle& handle, std::uint32_t asked) {
    if (handle.asked == asked) return true;
    const int how = handle.asked == 0 ? EPOLL_CTL_ADD : asked == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    epoll_event event{.events = asked, .data = {.u64 = static_cast<std::uint64_t>(watch)}};
    const int fd = handle.own.valid() ? handle.own.get() : handle.fd;
    int failed = epoll_ctl(epoll_.get(), how, fd, &event);
    if (failed != 0 && how == EPOLL_CTL_ADD && errno == EEXIST) {
      handle.own = host::Fd(fcntl(handle.fd, F_DUPFD_CLOEXEC, 0));
      failed = epoll_ctl(epoll_.get(), how, handle.own.get(), &event);
    }
    // A descriptor that was closed has left by itself.
    if (failed == 0 || asked == 0) handle.asked = asked;
    return failed == 0;
  }
  void Set(int id, Timer& timer, int every) {
    if (timer.every) due_.erase({timer.due, id});
    timer.every = every < 0 ? std::nullopt : std::optional(milliseconds(every));
    if (!timer.every) return;
    timer.due = steady_clock::now() + *timer.every;
    due_.emplace(timer.due, id);
    if (due_.begin()->second == id) Wake();
  }
  void Bury(const Argument& argument) {
    if (argument.free == nullptr) return;
    buried_.push_back(argument);
    Wake();
  }
  void Wake() const { eventfd_write(wake_.get(), 1); }

  int Patience() {
    const std::lock_guard lock(mutex_);
    if (due_.empty()) return -1;
    const auto left =
        std::chrono::ceil<milliseconds>(due_.begin()->first - steady_clock::now()).count();
    return static_cast<int>(std::clamp<milliseconds::rep>(left, 0, INT_MAX));
  }
  void Dispatch(const epoll_event& event) {
    const int watch = static_cast<int>(event.data.u64);
    eventfd_t drained = 0;
    if (watch == 0) {
      eventfd_read(wake_.get(), &drained);
      return;
    }
    std::unique_lock lock(mutex_);
    const auto known = handles_.find(watch);
    // Removed, or asked for nothing, by what was called before it.
    if (known == handles_.end() || known->second.asked == 0) return;
    const int fd = known->second.fd;
    const auto call = known->second.call;
    void* const opaque = known->second.argument.opaque;
    lock.unlock();
    call(watch, fd, FromEpoll(event.events), opaque);
  }
  void FireTimers() {
    std::unique_lock lock(mutex_);
    const auto now = steady_clock::now();
    std::vector<int> ids;
    for (auto at = due_.begin(); at != due_.end() && at->first <= now; ++at) {
      ids.push_back(at->second);
    }
    for (const int id : ids) {
      const auto known = timers_.find(id);
      if (known == timers_.end() || !known->second.every || known->second.due > now) continue;
      Timer& timer = known->second;
      due_.erase({timer.due, id});
      timer.due = now + *timer.every;
      due_.emplace(timer.due, id);
      const auto call = timer.call;
      void* const opaque = timer.argument.opaque;
      lock.unlock();
      call(id, opaque);
      lock.lock();
    }
  }
  void FreeArguments() {
    std::vector<Argument> buried;
    {
      const std::lock_guard lock(mutex_);
      buried.swap(buried_);
    }
    for (const Argument& argument : buried) argument.free(argument.opaque);
  }

  host::Fd epoll_, wake_;
  std::mutex mutex_;
  int last_ = 0;  // 0 is the wake-up's
  std::map<int, Handle> handles_;
  std::map<int, Timer> timers_;
  std::set<std::pair<steady_clock::time_point, int>> due_;
  std::vector<Argument> buried_;
};

// libvirt passes no context to what it registers. Never destroyed: threads that were left behind
// may use it while the process exits.
EventLoop& Loop() {
  static EventLoop& loop = *new EventLoop;
  return loop;
}

}  // namespace

Status StartEventLoop() {
  if (Status opened = Loop().Open(); !opened) return opened;
  virEventRegisterImpl(
      [](int fd, int events, virEventHandleCallback call, void* opaque, virFreeCallback free) {
        return Loop().AddHandle(fd, events, call, {opaque, free});
      },
      [](int watch, int events) { Loop().UpdateHandle(watch, events); },
      [](int watch) { return Loop().RemoveHandle(watch); },
      [](int every, virEventTimeoutCallback call, void* opaque, virFreeCallback free) {
        return Loop().AddTimer(every, call, {opaque, free});
      },
      [](int timer, int every) { Loop().UpdateTimer(timer, every); },
      [](int timer) { return Loop().RemoveTimer(timer); });
  return Launch("libvirt-events", [] { Loop().Run(); });
}

}  // namespace ullage::qemu
