// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "node-agent/actuators/guest_parameters.h"
#include "node-agent/actuators/hints.h"
#include "node-agent/agent/config.h"
#include "node-agent/agent/gate.h"
#include "node-agent/agent/taking.h"
#include "node-agent/host/clock.h"
#include "node-agent/policy/policy.h"
#include "node-agent/publishers/bulletin.h"
#include "node-agent/sources/sources.h"

namespace ullage::agent {

/// The tick: sources → model → policy → actuators → publishers. What an actuator did comes back
/// only through the next tick's samples.
class Agent {
 public:
  struct Parts {
    const host::Clock& clock;
    sources::Sources& sources;
    actuators::Hints& hints;
    actuators::GuestParameters& parameters;
    Gate* gate;  ///< null on a Kubernetes node, where the scheduler admits
    publishers::Bulletin& bulletin;
    std::function<void(const Report&)> count;  ///< metrics that count ticks, not scrapes
    Taking* taking = nullptr;                  ///< null: nothing is ever taken
  };
  Agent(const Config& config, Parts parts) : config_(config), parts_(std::move(parts)) {}

  /// One tick; takes milliseconds and never waits for libvirt, a guest or the network.
  void Tick();

  /// What the agent before this one left; before the first tick.
  void Inherit(Inherited inherited);

  /// What the policy remembers, for whoever keeps it in a file.
  policy::Histories& histories() { return policy_.histories(); }

  /// Whether the host has become short since the last tick, or has plenty again where that saw it
  /// short: a cheap look, so that the next tick need not wait for its time.
  bool HostHasTurned();

  /// From now on no guest is to be set to anything, and nothing to be taken. Ticks that follow put
  /// back what was set; true while there is something left that they can.
  void WishNothing();
  bool Restores() const;

 private:
  std::optional<Snapshot> WithoutGap(BootTime now) const;
  PolicyParams Rules(const NodeSample* node) const;
  Mode Allowed(const NodeSample* node) const;
  void Log(const Report& report) const;

  const Config& config_;
  bool wishes_ = true;
  Parts parts_;
  policy::Policy policy_;
  Bytes reserve_;  ///< of the last tick's rules
  std::shared_ptr<const Report> last_ = std::make_shared<Report>();
};

}  // namespace ullage::agent
