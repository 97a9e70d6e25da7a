// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "node-agent/actuators/guest_writer.h"
#include "node-agent/model/plan.h"

namespace ullage::actuators {

/// Where what would undo a change is written down, before the change is made. Implemented by
/// agent/.
class ChangeBook {
 public:
  ChangeBook() = default;
  ChangeBook(const ChangeBook&) = delete;
  ChangeBook& operator=(const ChangeBook&) = delete;
  virtual ~ChangeBook() = default;
  /// Durable when it returns.
  virtual Status Remember(const GuestChange& change) = 0;
  virtual Status Forget(const std::vector<GuestChange>& changes) = 0;
};

/// Carries out what a plan wants set in guests' drivers; enqueues and never blocks.
class GuestParameters {
 public:
  /// `may_write`: false in mode observe and with --dry-run: says what it would do.
  GuestParameters(GuestWriter& writer, ChangeBook& book, bool may_write)
      : writer_(writer), book_(book), may_write_(may_write) {}

  std::vector<Outcome> Apply(const Plan& plan, BootTime now);
  /// From the next plan on.
  void MayWrite(bool may_write) { may_write_ = may_write; }

 private:
  using Key = std::tuple<VmId, std::string, std::string>;
  Outcome One(const Action& action, BootTime now);
  Status Write(const Action& action);

  GuestWriter& writer_;
  ChangeBook& book_;
  bool may_write_;
  std::map<Key, BootTime> tried_;  ///< one try a minute: a guest that refuses is not nagged
};

}  // namespace ullage::actuators
