// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster.h"

#include <algorithm>

namespace ullage::sources {

Result<std::unique_ptr<ClusterSource>> ClusterSource::Start(const kube::Client& client,
                                                            const Options& options) {
  std::unique_ptr<ClusterSource> source(new ClusterSource(options));
  ClusterState& state = source->state_;
  const auto follow = [&]<typename T>(const kube::Resource& resource, kube::Selection selection,
                                      kube::Handler<T>& handler) -> Status {
    kube::WatchOptions watch;
    watch.selection = std::move(selection);
    watch.absent_rest = options.absent_rest;
    auto reflector = kube::Reflector::Start<T>(client, {resource}, watch, handler);
    if (!reflector) return reflector.error();
    source->reflectors_.push_back(std::move(*reflector));
    return Ok();
  };
  for (const Status& started :
       {follow(kube::kNodes, {"", "metadata.name=" + options.node}, state.node()),
        follow(kube::kPods, {"", "spec.nodeName=" + options.node}, state.pods()),
        follow(kube::kVmis, {"kubevirt.io/nodeName=" + options.node, ""}, state.vmis()),
        follow(kube::kReclaimPolicies, {}, state.policies())}) {
    if (!started) return started.error();
  }
  return source;
}

NodeSample ClusterSource::Read() {
  NodeSample sample = state_.Read();
  if (!state_.listed()) return sample;
  // The node and its pods. What KubeVirt or our CRD do not answer for is no reason not to know
  // them.
  sample.heard_at = std::min(reflectors_[0]->heard_at(), reflectors_[1]->heard_at());
  return sample;
}

}  // namespace ullage::sources
