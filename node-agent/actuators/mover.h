// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "node-agent/actuators/departures.h"
#include "node-agent/model/mode.h"
#include "node-agent/model/plan.h"

namespace ullage::actuators {

/// What the executor asks for. Nothing here waits for the network.
class Moving {
 public:
  Moving() = default;
  Moving(const Moving&) = delete;
  Moving& operator=(const Moving&) = delete;
  virtual ~Moving() = default;
  /// `action` is kMigrate or kEvict, of a VM of `snapshot`. kQueued; else the message says why not.
  virtual Outcome Ask(const Snapshot& snapshot, const Action& action) = 0;
  /// What became of what was asked, since the last call.
  virtual std::vector<Outcome> News(BootTime now) = 0;
  /// Nothing is asked from now on: what waits is dropped, and a call that runs is given up.
  virtual void Stop() = 0;
};

struct MoverOptions {
  std::string node;                       ///< this one's name
  LastStep last_step = LastStep::kEvict;  ///< below kEvict, who is to be evicted is migrated
  milliseconds look_every{2000};          ///< at a migration whose target is not known yet …
  milliseconds look_when_judged{15000};   ///< … and afterwards
};

/// Migrates and evicts by KubeVirt, one request at a time, on a thread of its own that sleeps where
/// there is nothing to do. A VM that was refused is left in peace for a minute, and twice as long
/// each time, up to an hour; where a right is missing, nothing of that kind is asked for 5 minutes.
/// While a migration of this agent's is under way no other is made: what migrates gives nothing
/// back before it has arrived.
class Mover final : public Moving {
 public:
  Mover(const kube::Client& client, MoverOptions options);

  Outcome Ask(const Snapshot& snapshot, const Action& action) override;
  std::vector<Outcome> News(BootTime now) override;
  /// A migration that was made stays: KubeVirt brings it to its end, and called off halfway it
  /// would have cost the VM and won nothing.
  void Stop() override;

 private:
  struct Order {
    Action action;
    bool migrate = false;
    Departure who;
  };
  struct Settled {
    Outcome outcome;
    bool migrate = false;
    Code code = Code::kInternal;  // of a failure
  };
  struct Rest {
    BootTime until;
    unsigned failures = 0;
    std::string words;
  };
  std::optional<std::string> WhyNot(const Snapshot& snapshot, const Order& order) const;
  void Run(const std::stop_token& stop);
  Result<std::string> Do(const Order& order, const std::stop_token& stop);
  void CarryOut(const Order& order, const std::stop_token& stop);
  void Follow(const std::stop_token& stop);
  void Tell(const Order& order, const Result<std::string>& came, const std::stop_token& stop);

  const MoverOptions options_;
  // The tick's own.
  std::map<VmId, Rest> refused_;
  std::map<bool, Rest> denied_;  // by Order::migrate
  // The worker's own.
  Departures departures_;
  std::optional<Migration> followed_;
  std::optional<Order> followed_for_;

  mutable std::mutex mutex_;  // never held while the network works
  std::condition_variable_any ordered_;
  std::optional<Order> order_;  // until it is carried out
  std::string on_its_way_;      // the VMI whose migration is followed
  std::vector<Settled> news_;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace ullage::actuators
