// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/bytes.h"
#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"

namespace ullage::simulation {

struct Machine;
struct Resident;

/// What a node may be given in addition, in bytes of L.
struct Offer {
  Bytes ordinary;   ///< to anybody
  Bytes reclaimed;  ///< to a VM that stands on it whole, in quanta of 64 MiB
  Bytes room() const { return ordinary + reclaimed; }
};

/// What a node's agent sees at one moment.
struct View {
  const Machine& machine;
  const std::vector<Resident>& vms;
  std::int64_t second;  ///< of the run
  Bytes available;      ///< MemAvailable
  Bytes out;            ///< cold memory that was pushed out, taken from the VMs by their cold
  Bytes cold;           ///< Σ
  Bytes swap_free;
};

/// What is to be done at once.
struct Acts {
  std::optional<std::size_t> evict;    ///< index among the VMs
  std::optional<std::size_t> migrate;  ///< at the next minute, where another node has room
  Bytes push;                          ///< cold memory, to swap
  Bytes balloon;  ///< cold memory that the guests' own balloons may take; negative: give back
};

/// How much one node may promise. One object for each node: it may remember.
class Strategy {
 public:
  Strategy() = default;
  Strategy(const Strategy&) = delete;
  Strategy& operator=(const Strategy&) = delete;
  virtual ~Strategy() = default;

  /// At the end of each step, once: 60 s, or 1 s where memory is short.
  virtual Acts Look(const View& view) = 0;
  /// What it sells from now on, at the boundary of a minute.
  virtual Offer Sell(const View& view) = 0;
  /// Writes to the API server so far.
  virtual std::uint64_t writes() const { return 0; }
  /// Does it have guests' balloons take cold memory, and how fast?
  virtual Bytes balloon_a_second(const View&) const { return {}; }
  /// Does the kubelet watch over this node? It evicts below 100 MiB.
  virtual bool has_kubelet() const { return true; }
};

/// Somebody's rule, as it is published; docs/simulation.md has the sources.
struct Rival {
  const char* name;
  const char* rule;  ///< in a few words, for the table
  std::unique_ptr<Strategy> (*make)();
};
const std::vector<Rival>& Rivals();

/// The policy that the agent runs, and what the agent would tell of it.
class Ourselves : public Strategy {
 public:
  virtual const Snapshot& snapshot() const = 0;  ///< of the last Look() or Sell()
  virtual const Plan& plan() const = 0;          ///< for it
};
std::unique_ptr<Ourselves> Ours(const PolicyParams& params);

}  // namespace ullage::simulation
