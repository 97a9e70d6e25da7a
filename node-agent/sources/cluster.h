// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "node-agent/kube/reflector.h"
#include "node-agent/model/node.h"
#include "node-agent/sources/cluster_state.h"
#include "node-agent/sources/node_reader.h"

namespace ullage::sources {

/// Follows, each on a thread of its own: the node, its pods (spec.nodeName), its VMIs (label
/// kubevirt.io/nodeName) and all ReclaimPolicies. While the API server is away the last known state
/// stays, with its age (`heard_at`) and the fault.
class ClusterSource final : public NodeReader {
 public:
  struct Options {
    std::string node;  ///< its name
    PolicyParams own;  ///< the configuration's, which a ReclaimPolicy changes
    /// Between two questions for a kind whose CRD is not installed.
    milliseconds absent_rest{60000};
  };
  /// Calls `follow(resource, watch options, handler)` for each collection, in the order of above.
  template <typename Follow>
  static void Each(ClusterState& state, const Options& options, const Follow& follow) {
    const auto one = [&](const kube::Resource& resource, kube::Selection selection, auto& handler) {
      kube::WatchOptions watch;
      watch.selection = std::move(selection);
      watch.absent_rest = options.absent_rest;
      follow(resource, watch, handler);
    };
    one(kube::kNodes, {"", "metadata.name=" + options.node}, state.node());
    one(kube::kPods, {"", "spec.nodeName=" + options.node}, state.pods());
    one(kube::kVmis, {"kubevirt.io/nodeName=" + options.node, ""}, state.vmis());
    one(kube::kReclaimPolicies, {}, state.policies());
  }

  /// `client` must outlive it. kExhausted: no threads for it.
  static Result<std::unique_ptr<ClusterSource>> Start(const kube::Client& client,
                                                      const Options& options);

  NodeSample Read() override;

 private:
  explicit ClusterSource(const Options& options) : state_(options.node, options.own) {}

  ClusterState state_;
  std::vector<std::unique_ptr<kube::Reflector>> reflectors_;  // last: they tell the state
};

}  // namespace ullage::sources
