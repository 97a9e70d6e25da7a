// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node-agent/kube/client.h"
#include "node-agent/model/plan.h"
#include "node-agent/publishers/node_reclaim.pb.h"
#include "node-agent/publishers/writer.h"

namespace ullage::publishers {

using kube::kNodeReclaims;

/// The most that a NodeReclaim may hold, as the JSON that is sent.
inline constexpr std::size_t kNodeReclaimLimit = 8192;

struct ReclaimRules {
  /// Between two writes of figures, at least; those that move after a longer rest wait for up to
  /// half of it, by chance, because what moves them may move those of thousands of nodes.
  milliseconds every{60000};
  milliseconds conditions_every{5000};  ///< between two writes for a condition that changed
  /// After an API server did not take a write, for the node to be followed again, at most: only
  /// then there is more to say than that it was away, which all nodes would say at once.
  milliseconds await_watches{150000};
};

/// What a node has to say: the object with its status. Conditions that have the same status as in
/// `before` keep their time of change. At most kNodeReclaimLimit bytes: VMs are left out, those
/// that matter least first, then messages are cut.
k8s::NodeReclaim ReclaimOf(const Report& report, const k8s::NodeReclaimStatus& before);

enum class Difference { kNone, kFigures, kConditions };
/// What is worth a write. Not the time of observation, no texts with figures in them, and a size
/// only when it moved by 64 MiB and a sixteenth since it was written: a guest breathes.
Difference Compare(const k8s::NodeReclaimStatus& written, const k8s::NodeReclaimStatus& now);

/// "448Mi", or bytes where they are no whole MiB.
std::string QuantityOf(Bytes size);

/// Keeps the NodeReclaim of this node by server-side apply. It is made where it is absent, and goes
/// with its Node.
class NodeReclaimWriter final : public Writer {
 public:
  NodeReclaimWriter(const kube::Client& client, ReclaimRules rules, Voice voice)
      : Writer("node-reclaim", client, std::move(voice)), rules_(rules) {}

  void Step(const Report& report, const std::stop_token& stop) override;

 private:
  bool Due(Difference difference);
  bool AwaitsWatches(const NodeSample& node) const;
  void Judge(const Status& status, const std::stop_token& stop);
  Status Make(const k8s::NodeReclaim& object, const std::stop_token& stop);
  Status Write(const k8s::NodeReclaim& object, const std::stop_token& stop);

  const ReclaimRules rules_;
  bool made_ = false;
  k8s::NodeReclaimStatus written_;
  bool cut_ = false;  // VMs were left out of it, for its size
  std::optional<BootTime> written_at_;
  std::optional<BootTime> figures_from_;  // those that have moved are written not before
  std::optional<BootTime> refused_at_;    // the last write, by an API server that is not there
};

}  // namespace ullage::publishers
