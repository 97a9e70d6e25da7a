// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "node-agent/model/params.h"
#include "node-agent/model/plan.h"
#include "node-agent/model/snapshot.h"
#include "node-agent/policy/capacity.h"
#include "node-agent/policy/growth.h"
#include "node-agent/policy/together.h"

namespace ullage::policy {

/// What is known of one VM over its life here.
struct VmHistory {
  std::uint64_t epoch = 0;
  std::uint64_t cgroup = 0;
  BootTime seen_at{};
  seconds observed{};        ///< for how long its charge was seen, without the gaps
  Bytes reclaimed_a_slot{};  ///< the most that was lately taken from it within one slot
  GrowthHistogram growth;
  GrowthWindow window{};  ///< not kept in a file
  bool restored = false;  ///< from a file, and its VM not seen since
  Bytes ceiling{};        ///< the most that it can hold
  Bytes held{};           ///< at the last tick, in swap, too
  Bytes peak{};           ///< the cgroup's own mark at the last tick
  bool taken = false;     ///< memory was asked of it in this slot
};

/// The memory of the policy: how each VM grew, how all of them did together, and whether what was
/// kept for that was enough.
/// Its VMs are bounded; whoever was gone longest is forgotten first.
class Histories {
 public:
  static constexpr std::size_t kMostVms = 4096;
  using Vms = std::map<VmId, VmHistory>;

  /// Takes in what this tick saw. The result lives until the next call.
  const Forecast& Observe(const Snapshot& snapshot, const PolicyParams& params);
  /// What was decided upon it: scored once its horizon has passed.
  void Promise(const Plan& plan);

  const PromiseAudit& audit() const { return audit_; }
  const Vms& vms() const { return vms_; }
  const TogetherHistory& together() const { return together_; }
  seconds horizon() const { return horizon_; }
  /// What an earlier agent of this boot knew. Before the first Observe.
  void Restore(Vms vms, const TogetherHistory& together, const PromiseAudit& audit,
               seconds horizon);

 private:
  void Turn(std::uint64_t slot);
  void Close(std::uint64_t slot);
  void Judge(Bytes rose, Bytes growth, Bytes buffer);
  VmHistory& Find(const VmState& vm, Vms::iterator& hint);
  void See(const VmState& vm, const Snapshot& snapshot, VmHistory& history);
  void ForgetTheAbsent(BootTime now);

  Vms vms_;
  std::vector<VmHistory*> present_;  // same order as the snapshot's; null: nothing was seen
  Forecast forecast_;
  TogetherHistory together_;
  PromiseAudit audit_;
  seconds horizon_{};
  milliseconds slot_length_{1};
  float keep_ = 1;  // of a histogram's weight, from one slot to the next
  std::uint64_t slot_ = 0;
  std::array<Bytes, kSlots> buffers_{};  // B as it was when each slot began
  bool fresh_ = true;                    // this tick is the first of its slot
};

}  // namespace ullage::policy
