// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/watch_state.h"

namespace ullage::kube {

WatchState::Step WatchState::Next() {
  milliseconds rest{0};
  if (rest_due_) rest = asked_ + FullJitter(failures_ - 1, range_, random_());
  rest_due_ = false;
  heard_ = false;
  if (!list_) return {Do::kWatch, rest, version_};
  // The first list may come from the server's cache: a thousand agents that start together must
  // not all read etcd. Later ones may not be older than what was seen.
  if (fresh_) return {Do::kList, rest, ""};
  return {Do::kList, rest, version_.empty() ? "0" : version_};
}

void WatchState::Listed(const std::string& version) {
  list_ = false;
  fresh_ = false;
  version_ = version;
}

void WatchState::Heard(const std::string& version) {
  heard_ = true;
  failures_ = 0;
  if (!version.empty()) version_ = version;
}

void WatchState::Ended(milliseconds lasted) {
  if (heard_ || lasted >= kShortWatch) {
    failures_ = 0;
  } else {
    Fail(std::nullopt);
  }
}

void WatchState::Failed(Code code, std::optional<milliseconds> retry_after) {
  Fail(retry_after);
  if (list_) {
    // The server cannot serve that version. One that is away, or has too much to do, said nothing
    // of it: after a restart all agents at once would read etcd.
    const bool of_the_version = code != Code::kUnavailable && !version_.empty();
    fresh_ = fresh_ || code == Code::kGone || of_the_version;
  } else if (code == Code::kGone || failures_ >= kListAfter) {
    list_ = true;
  }
}

void WatchState::Fail(std::optional<milliseconds> retry_after) {
  if (failures_ < 1000) ++failures_;
  rest_due_ = true;
  asked_ = retry_after.value_or(milliseconds(0));
}

}  // namespace ullage::kube
