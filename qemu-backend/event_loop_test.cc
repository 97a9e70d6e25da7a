// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/event_loop.h"

#include <gtest/gtest.h>
#include <libvirt/libvirt.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "node-agent/host/file.h"
#include "qemu-backend/libvirt_connection.h"

namespace ullage::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What libvirt would hand over; owned by the loop until it is freed.
struct Caller {
  std::function<void(int id, int fd, int events)> act;
  std::shared_ptr<std::atomic<int>> calls = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<std::atomic<int>> frees = std::make_shared<std::atomic<int>>(0);
};

void OnHandle(int watch, int fd, int events, void* opaque) {
  auto* caller = static_cast<Caller*>(opaque);
  if (caller->act) caller->act(watch, fd, events);
  ++*caller->calls;
}
void OnTimer(int id, void* opaque) { OnHandle(id, -1, 0, opaque); }
void Free(void* opaque) {
  const std::unique_ptr<Caller> caller(static_cast<Caller*>(opaque));
  ++*caller->frees;
}

bool Soon(const std::function<bool()>& holds) {
  const auto until = steady_clock::now() + std::chrono::seconds(45);
  while (!holds()) {
    if (steady_clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

class EventLoopTest : public ::testing::Test {
 protected:
  EventLoopTest() {
    EXPECT_TRUE(Connect("test:///default").ok());  // the loop runs from the first on
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    here_ = host::Fd(ends[0]);
    there_ = host::Fd(ends[1]);
  }
  int Watch(int events, Caller* caller) const {
    return virEventAddHandle(here_.get(), events, OnHandle, caller, Free);
  }
  void Say() const { EXPECT_EQ(write(there_.get(), "x", 1), 1); }
  // Everything that was there to be done before this is done after it.
  static void Settle() {
    auto* caller = new Caller;
    const auto calls = caller->calls;
    const int timer = virEventAddTimeout(0, OnTimer, caller, Free);
    EXPECT_TRUE(Soon([&] { return *calls >= 3; }));
    virEventRemoveTimeout(timer);
  }

  host::Fd here_, there_;
};

TEST_F(EventLoopTest, CallsWhoeverWaits) {
  auto* caller = new Caller;
  const auto calls = caller->calls, frees = caller->frees;
  caller->act = [](int, int fd, int events) {
    char byte = 0;
    EXPECT_EQ(events, VIR_EVENT_HANDLE_READABLE);
    EXPECT_EQ(read(fd, &byte, 1), 1);
  };
  const int watch = Watch(VIR_EVENT_HANDLE_READABLE, caller);
  ASSERT_GT(watch, 0);
  Say();
  ASSERT_TRUE(Soon([&] { return *calls == 1; }));
  Say();
  ASSERT_TRUE(Soon([&] { return *calls == 2; }));
  EXPECT_EQ(virEventRemoveHandle(watch), 0);
  EXPECT_TRUE(Soon([&] { return *frees == 1; }));
  Say();
  Settle();
  EXPECT_EQ(*calls, 2);
  EXPECT_EQ(virEventRemoveHandle(watch), -1);
}

TEST_F(EventLoopTest, WhoAsksForNothingIsNotCalledAtTheEndEither) {
  auto* caller = new Caller;
  const auto calls = caller->calls;
  caller->act = [](int watch, int, int events) {
    EXPECT_NE(events & VIR_EVENT_HANDLE_HANGUP, 0);
    virEventUpdateHandle(watch, 0);  // by the callback itself, as libvirt does
  };
  const int watch = Watch(0, caller);
  there_ = host::Fd();
  Settle();
  EXPECT_EQ(*calls, 0);
  virEventUpdateHandle(watch, VIR_EVENT_HANDLE_READABLE);
  ASSERT_TRUE(Soon([&] { return *calls == 1; }));
  Settle();
  EXPECT_EQ(*calls, 1);
  virEventRemoveHandle(watch);
}

TEST_F(EventLoopTest, OneDescriptorMayBeWatchedTwice) {
  auto* reader = new Caller;
  auto* writer = new Caller;
  const auto reads = reader->calls, writes = writer->calls;
  reader->act = [](int watch, int, int) { virEventUpdateHandle(watch, 0); };
  writer->act = [fd = here_.get()](int watch, int given, int events) {
    EXPECT_EQ(given, fd) << "libvirt's own";
    EXPECT_EQ(events, VIR_EVENT_HANDLE_WRITABLE);
    virEventUpdateHandle(watch, 0);
  };
  const int one = Watch(VIR_EVENT_HANDLE_READABLE, reader);
  const int two = Watch(VIR_EVENT_HANDLE_WRITABLE, writer);
  Say();
  EXPECT_TRUE(Soon([&] { return *reads == 1 && *writes == 1; }));
  virEventRemoveHandle(one);
  virEventRemoveHandle(two);
}

TEST_F(EventLoopTest, TimersRunRestAndEnd) {
  auto* caller = new Caller;
  const auto calls = caller->calls, frees = caller->frees;
  const int timer = virEventAddTimeout(-1, OnTimer, caller, Free);
  Settle();
  EXPECT_EQ(*calls, 0);
  virEventUpdateTimeout(timer, 1);
  ASSERT_TRUE(Soon([&] { return *calls >= 3; }));
  virEventUpdateTimeout(timer, -1);
  Settle();  // it may have been on its way
  const int before = *calls;
  Settle();
  EXPECT_EQ(*calls, before);
  EXPECT_EQ(virEventRemoveTimeout(timer), 0);
  EXPECT_TRUE(Soon([&] { return *frees == 1; }));
}

TEST_F(EventLoopTest, ACallbackMayRemoveItself) {
  auto* caller = new Caller;
  const auto calls = caller->calls, frees = caller->frees;
  caller->act = [](int watch, int, int) { EXPECT_EQ(virEventRemoveHandle(watch), 0); };
  Watch(VIR_EVENT_HANDLE_READABLE, caller);
  Say();
  EXPECT_TRUE(Soon([&] { return *frees == 1; }));
  EXPECT_EQ(*calls, 1);
}

}  // namespace
}  // namespace ullage::qemu
