// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "node-agent/simulation/demand.h"
#include "node-agent/simulation/promise.h"
#include "node-agent/simulation/strategy.h"

namespace ullage::simulation {

/// What came of a run, or of one node in it.
struct Tally {
  double node_hours = 0;
  double vm_hours = 0;        ///< after the warm-up only, like the next
  double counted_hours = 0;   ///< node-hours after the warm-up
  double promised_hours = 0;  ///< Σ L × hours ÷ the node's memory
  std::uint64_t windows = 0;  ///< promises whose horizon has passed (promise.h)
  std::uint64_t broken = 0;
  std::uint64_t oom_kills = 0;  ///< VMs held more than memory and swap: the host's kernel kills one
  std::uint64_t evictions = 0;  ///< by the kubelet or the strategy
  std::uint64_t migrations = 0;
  std::uint64_t writes = 0;  ///< to the Node, by the rules of who writes
  double stall_seconds = 0;  ///< memory in use did not fit, or cold memory could not be pushed
                             ///< out fast enough: guests wait
  Bytes most_out;            ///< the most that was pushed out on a node
  std::uint64_t placed = 0;  ///< starts of VMs
};
void Add(Tally& sum, const Tally& one);

/// The machines of a run; all alike.
struct Machine {
  Bytes total = Bytes::GiB(64);
  Bytes reserve = Bytes::MiB(512);  ///< not sold
  Bytes own = Bytes::MiB(384);      ///< what the host itself uses of that
  Bytes swap;                       ///< 0: none
  Bytes swap_a_second = Bytes::MiB(128);
};

/// One VM on a node. Its state is what the node's agent can see of it.
struct Resident {
  Order order;
  Demand demand;
  Bytes reclaimed;        ///< the part of L that stands on reclaimed memory
  std::int64_t came = 0;  ///< minute
  std::int64_t ends = 0;  ///< minute
  Bytes held;             ///< now, wherever it is
  Bytes cold;             ///< of it
  Bytes begin;            ///< held when this minute began
  Need need;              ///< of this minute
};

/// One node in virtual time: its VMs, its memory, and a strategy that says how much more it may
/// promise. A minute is one step, or 60 where memory is short.
class Node {
 public:
  Node(const Machine& machine, std::unique_ptr<Strategy> strategy);

  // At the boundary of minutes, in this order.
  /// Takes out whoever's time has come.
  std::vector<Order> End(std::int64_t minute);
  /// What it offers in this minute; from here on VMs may be bound.
  void Promise(std::int64_t minute);
  Offer& offer() { return offer_; }
  void Bind(const Resident& vm);
  /// The VM that the strategy wants to see elsewhere: it is to be taken out, or stays.
  std::optional<std::size_t> Leaving() const;
  Resident Migrate(std::size_t index);
  /// Lives through the minute. Returns whoever lost its place for want of memory.
  std::vector<Order> Live(std::int64_t minute, bool counted);

  const std::vector<Resident>& vms() const { return vms_; }
  const Machine& machine() const { return machine_; }
  Bytes used() const { return burden_.held - burden_.out; }
  const Tally& tally() const { return tally_; }
  /// With the promises of now.
  Tally Total() const;

 private:
  void Advance(std::int64_t minute);
  void At(std::int64_t second);
  void Moment(std::int64_t minute, std::int64_t second, std::int64_t step);
  void Gather(std::int64_t minute);
  void PushOut(std::int64_t step);
  void Enforce(std::int64_t minute, std::int64_t second, std::int64_t step);
  void Remove(std::size_t index);
  bool Near() const;
  Bytes Cached() const;
  View Look(std::int64_t minute, std::int64_t second) const;

  const Machine machine_;
  std::unique_ptr<Strategy> strategy_;
  std::vector<Resident> vms_;
  std::vector<Order> lost_;
  Offer offer_;
  Burden burden_;
  PromiseBook::Newcomers newcomers_{};
  Bytes ballooned_;  // of burden_.out
  PromiseBook promises_;
  std::optional<std::uint64_t> leaving_;  // its number
  Tally tally_;
};

}  // namespace ullage::simulation
