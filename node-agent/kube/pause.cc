// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/pause.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>

#include "node-agent/kube/backoff.h"

namespace ullage::kube {

bool RealPause::For(milliseconds rest, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any woken;
  std::unique_lock lock(mutex);
  woken.wait_for(lock, stop, rest, [] { return false; });
  return !stop.stop_requested();
}

Random SystemRandom() {
  struct State {
    std::mutex mutex;
    std::mt19937_64 engine{std::random_device{}()};
  };
  return [state = std::make_shared<State>()] {
    const std::lock_guard lock(state->mutex);
    return state->engine();
  };
}

}  // namespace ullage::kube
