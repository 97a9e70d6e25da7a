// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster.h"

#include <algorithm>

namespace ullage::sources {

Result<std::unique_ptr<ClusterSource>> ClusterSource::Start(const kube::Client& client,
                                                            const Options& options) {
  std::unique_ptr<ClusterSource> source(new ClusterSource(options));
  Status started = Ok();
  Each(source->state_, options,
       [&]<typename T>(const kube::Resource& resource, const kube::WatchOptions& watch,
                       kube::Handler<T>& handler) {
         if (!started) return;
         auto reflector = kube::Reflector::Start<T>(client, {resource}, watch, handler);
         if (!reflector) {
           started = reflector.error();
         } else {
           source->reflectors_.push_back(std::move(*reflector));
         }
       });
  if (!started) return started.error();
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
