// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/kube/backoff.h"
#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace ullage::kube {

/// What to do next to follow a collection: list it, then watch it from there on. Pure; whoever does
/// the work tells how it went. After the API server's own rules (Kubernetes API concepts,
/// "Efficient detection of changes").
class WatchState {
 public:
  enum class Do { kList, kWatch };
  struct Step {
    Do what;
    milliseconds rest;    ///< before it
    std::string version;  ///< the resourceVersion to ask for; "0" and "" as for ListRequest()
  };

  WatchState(BackoffRange range, Random random) : range_(range), random_(std::move(random)) {}

  Step Next();

  void Listed(const std::string& version);
  /// An event or a bookmark came; an empty version says nothing.
  void Heard(const std::string& version);
  /// The server ended the watch in good order, `lasted` after it began.
  void Ended(milliseconds lasted);
  /// Nothing came for too long, which may be right or mean a lost server: a list tells.
  void Silent() { list_ = true; }
  /// The list or watch failed. kGone (410): a watch cannot begin at our version, for which a list
  /// that is not older makes up, and that the server's cache has; a list cannot be had that way.
  void Failed(Code code, std::optional<milliseconds> retry_after);

 private:
  // A watch that ends at once, and says nothing, is none.
  static constexpr milliseconds kShortWatch{1000};
  // So many times in a row no watch came about: perhaps it is the version that the server cannot
  // serve (it lost its etcd), and only a list finds out.
  static constexpr unsigned kListAfter = 3;

  void Fail(std::optional<milliseconds> retry_after);

  const BackoffRange range_;
  const Random random_;
  bool list_ = true;
  bool fresh_ = false;  // the list has to come from etcd: a cache's is older than what we know of
  bool heard_ = false;  // since the last Next()
  std::string version_;
  unsigned failures_ = 0;
  bool rest_due_ = false;
  milliseconds asked_{0};
};

}  // namespace ullage::kube
