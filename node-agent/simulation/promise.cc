// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/promise.h"

#include <algorithm>

namespace ullage::simulation {

void PromiseBook::Promise(Bytes room, const Burden& now, bool counts) {
  Window& oldest = open_[static_cast<std::size_t>(count_ % kHorizonMinutes)];
  if (count_ >= kHorizonMinutes && oldest.counts) {
    ++windows_;
    if (oldest.broken) ++broken_;
  }
  oldest = {std::max(room, Bytes()), now.out, Bytes(), counts, false};
  ++count_;
}

void PromiseBook::Look(const Burden& now, const Newcomers& since, const Means& means, Bytes total,
                       std::int64_t second) {
  const std::int64_t open = std::min(count_, kHorizonMinutes);
  for (std::int64_t back = 0; back < open; ++back) {
    Window& window = Back(back);
    if (window.broken) continue;
    const Bytes pushed(means.a_second.count() * (back * 60 + second));
    const Bytes out = std::min(now.cold, std::min(window.out + pushed, means.space));
    const Bytes old = now.held - since[static_cast<std::size_t>(back)] + window.gone;
    window.broken = old + window.room > total + out;
  }
}

void PromiseBook::Migrated(Bytes held) {
  for (Window& window : open_) window.gone += held;
}

void PromiseBook::Failed() {
  for (Window& window : open_) window.broken = true;
}

}  // namespace ullage::simulation
