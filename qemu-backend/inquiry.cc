// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/inquiry.h"

#include <chrono>

namespace ullage::qemu {

bool Inquiry::Sleep(milliseconds least, milliseconds most) {
  std::unique_lock lock(mutex_);
  const auto begin = std::chrono::steady_clock::now();
  changed_.wait_until(lock, begin + least, [&] { return stop_; });
  changed_.wait_until(lock, begin + most, [&] { return stop_ || awake_; });
  awake_ = false;
  if (SeesStop()) return false;
  now_ = clock_.Now();
  return true;
}

void Inquiry::Finish() {
  const std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

std::optional<Inquiry::Overdue> Inquiry::OverdueLocked(BootTime now) const {
  if (question_ == nullptr || now - now_.boot <= deadline_) return std::nullopt;
  return Overdue{question_, std::chrono::duration_cast<milliseconds>(now - now_.boot)};
}

void Inquiry::WakeLocked() {
  awake_ = true;
  changed_.notify_all();
}

void Inquiry::Wake() {
  const std::lock_guard lock(mutex_);
  WakeLocked();
}

void Inquiry::Stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

bool Inquiry::AwaitExit(milliseconds patience) {
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + patience;
  changed_.wait_until(lock, until, [&] { return finished_; });
  changed_.wait(lock, [&] { return finished_ || left_ || question_ != nullptr; });
  return finished_;
}

}  // namespace ullage::qemu
