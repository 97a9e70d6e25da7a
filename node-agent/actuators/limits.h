// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "node-agent/host/lease.h"
#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"

namespace ullage::actuators {

/// Sets leased limits on VMs' memory cgroups: v2 memory.high, v1 memory.limit_in_bytes; and, where
/// a hybrid VM's v2 memory.swap.max is 0, lifts that for as long (the kubelet's NoSwap writes it on
/// pods, and without swap nothing anonymous can be taken). Each is in the book, durable, before it
/// is written, and only while ullage-lease is there to undo it.
///
/// A limit is never set below what is charged: the kernel would reclaim before the write returns,
/// and the guest's vCPUs would wait for it. A value that is not what was written last is another
/// writer's: left to that one, and not leased again for ten minutes.
class Limits {
 public:
  struct Parts {
    host::LeaseBook& book;
    host::Roots roots;
    /// The absolute path of what charges a VM; empty: not known.
    std::function<std::string(const VmId&)> cgroup;
    /// Whether somebody would undo what is set (host::KeeperLives).
    std::function<bool()> keeper;
  };
  /// What the book holds already is an earlier agent's, and is undone.
  explicit Limits(Parts parts);

  /// Before a tick's samples are folded: what of this agent's limits stands.
  std::map<VmId, LeasedLimit> Leased(BootTime now);
  /// `may_take`: false below mode reclaim: says what it would do, and undoes.
  std::vector<Outcome> Apply(const Snapshot& snapshot, const Plan& plan, bool may_take);
  /// From now on, whatever a plan says (HybridParams::min_memory).
  void KeepAtLeast(Permyriad share) { least_ = share; }

 private:
  using Key = host::Leases::Key;
  Outcome One(const Snapshot& snapshot, const Action& action, bool may_take);
  Status Set(const VmState& vm, const std::string& file, std::optional<Bytes> value,
             std::optional<Bytes> at_least);
  Status Limit(const VmState& vm, Bytes amount, BootTime now);
  void LiftSwap(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes);
  void Settle(const Snapshot& snapshot, bool may_take, std::vector<Outcome>& outcomes);
  void Check(const Key& key, const host::LeasedValue& value, BootTime now, std::set<Key>& drop);
  bool Drop(const std::set<Key>& keys);

  Parts parts_;
  Permyriad least_ = HybridParams().min_memory;
  std::set<Key> unwanted_;           ///< of the book, to be undone
  std::map<Key, BootTime> yielded_;  ///< to another writer
  std::map<Key, host::LeasedValue> yielded_values_;
  std::map<std::string, BootTime> lowered_;
  std::map<std::string, BootTime> swap_tried_;
};

}  // namespace ullage::actuators
