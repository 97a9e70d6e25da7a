// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/virtual_time.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace ullage::simulation {
namespace {

constexpr std::size_t kStack = std::size_t{256} << 10;
// 2026-11-22, about: only shown.
constexpr seconds kWallStart{1795300000};

VirtualTime* entering = nullptr;

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::abort();
}

// Only pages that are touched take memory; the lowest one is never given, so that a stack that is
// too small ends the program and not another thread's data.
void* NewStack() {
  void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) Die("a stack for a virtual thread");
  if (mprotect(stack, 4096, PROT_NONE) != 0) Die("a guard below a stack (vm.max_map_count?)");
  return stack;
}

}  // namespace

VirtualTime::~VirtualTime() {
  for (const Thread& thread : threads_) {
    if (thread.stack != nullptr) munmap(thread.stack, kStack);
  }
}

Moment VirtualTime::Now() const { return {BootTime(now_), WallTime(kWallStart + now_)}; }

void VirtualTime::Begin(std::function<void()> body) {
  threads_.push_back({std::move(body), std::make_unique<ucontext_t>(), NewStack()});
  Thread& thread = threads_.back();
  getcontext(thread.context.get());
  thread.context->uc_stack.ss_sp = thread.stack;
  thread.context->uc_stack.ss_size = kStack;
  thread.context->uc_link = &back_;
  makecontext(thread.context.get(), &VirtualTime::Enter, 0);
  ++live_;
  Schedule(threads_.size() - 1, now_);
}

void VirtualTime::Enter() {
  VirtualTime& time = *entering;
  const Id id = time.running_;
  time.threads_[id].body();
  time.threads_[id].done = true;
  --time.live_;
}

void VirtualTime::Schedule(Id id, milliseconds at) {
  due_.push({at, ++orders_, id, threads_[id].turn});
}

void VirtualTime::Resume(Id id) {
  ++threads_[id].turn;
  running_ = id;
  entering = this;
  swapcontext(&back_, threads_[id].context.get());
}

void VirtualTime::RunUntil(milliseconds end) {
  while (!due_.empty() && due_.top().at < end) {
    const Due next = due_.top();
    due_.pop();
    if (threads_[next.id].done || threads_[next.id].turn != next.turn) continue;
    now_ = std::max(now_, next.at);
    Resume(next.id);
  }
  now_ = std::max(now_, end);
}

void VirtualTime::RunOut() {
  while (live_ > 0) {
    WakeAll();
    RunUntil(now_ + milliseconds(1));
  }
}

bool VirtualTime::For(milliseconds rest, const std::stop_token& stop) {
  if (!stop.stop_requested()) WaitUntil(now_ + rest);
  return !stop.stop_requested();
}

bool VirtualTime::WaitUntil(milliseconds end) {
  const Id id = running_;
  threads_[id].woken = false;
  Schedule(id, std::max(end, now_));
  swapcontext(threads_[id].context.get(), &back_);
  return threads_[id].woken;
}

void VirtualTime::Wake(Id id) {
  if (threads_[id].done) return;
  threads_[id].woken = true;
  Schedule(id, now_);
}

void VirtualTime::WakeAll() {
  for (Id id = 0; id < threads_.size(); ++id) Wake(id);
}

}  // namespace ullage::simulation
