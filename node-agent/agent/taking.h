// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node-agent/actuators/taker.h"
#include "node-agent/host/lease.h"

namespace ullage::agent {

/// What it needs to take memory from VMs and to be sure that it is given back: the book of what was
/// taken, a sign of life, and ullage-lease, that undoes limits when that sign is missing.
class Taking {
 public:
  struct Options {
    std::string folder;  ///< for the book and the signs of life; best one in memory
    std::string boot_id;
    host::Roots roots;
    std::string keeper;  ///< the program to start when no ullage-lease is there; empty: somebody
                         ///< else does, as the chart's second container
  };

  /// `cgroup`: Limits::Parts. kExists: another agent lives in this folder.
  static Result<std::unique_ptr<Taking>> Open(Options options, actuators::BalloonSetter& setter,
                                              std::function<std::string(const VmId&)> cgroup);

  actuators::Taker& taker() { return *taker_; }
  const actuators::Taker& taker() const { return *taker_; }
  /// Who pages out, from now on. It outlives this.
  void Use(actuators::Pager& pager) {
    pager_ = &pager;
    taker_->Use(pager);
  }
  /// The VMs that may be paged out, each tick all of them.
  void Know(const std::vector<host::VmProcess>& vms) {
    if (pager_ != nullptr) pager_->Know(vms);
  }
  /// What was wrong with the book; empty: nothing.
  const std::string& trouble() const { return book_.trouble(); }
  /// At each tick: breathes, and starts ullage-lease where there is none.
  void Beat(BootTime now);
  /// Why there is no ullage-lease, or no sign of life; empty: all is well.
  const std::string& fault() const { return fault_; }

 private:
  Taking(Options options, host::LeaseBook book, host::Heartbeat heart)
      : options_(std::move(options)), book_(std::move(book)), heart_(std::move(heart)) {}
  void Note(const std::string& fault);

  const Options options_;
  host::LeaseBook book_;
  host::Heartbeat heart_;
  std::optional<actuators::Taker> taker_;
  actuators::Pager* pager_ = nullptr;
  std::optional<BootTime> started_;
  std::string fault_;
};

/// ullage-lease beside the program that runs now; empty: it cannot be said where that is.
std::string KeeperBesideThisProgram(const host::Roots& roots);

}  // namespace ullage::agent
