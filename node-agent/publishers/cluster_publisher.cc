// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/cluster_publisher.h"

namespace ullage::publishers {

std::vector<std::unique_ptr<Writer>> MakeWriters(const ClusterPublisherOptions& options,
                                                 const kube::Client& client) {
  std::vector<std::unique_ptr<Writer>> writers;
  writers.push_back(std::make_unique<NodeResource>(client, options.resource, options.say));
  writers.push_back(std::make_unique<NodeReclaimWriter>(client, options.reclaim, options.say));
  writers.push_back(
      std::make_unique<EventWriter>(client, options.events, options.node, options.say));
  return writers;
}

ClusterPublisher::ClusterPublisher(const ClusterPublisherOptions& options,
                                   const kube::Client& client, const Bulletin& bulletin)
    : bulletin_(bulletin), writers_(MakeWriters(options, client)) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

ClusterPublisher::~ClusterPublisher() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

std::vector<ClusterPublisher::Count> ClusterPublisher::Counts() const {
  std::vector<Count> counts;
  for (const auto& writer : writers_) counts.push_back({writer->name(), writer->Counts()});
  return counts;
}

void ClusterPublisher::Run(const std::stop_token& stop) {
  std::uint64_t seen = 0;
  while (const auto report = bulletin_.Newer(seen, stop)) {
    seen = report->tick;
    for (const auto& writer : writers_) {
      if (!stop.stop_requested()) writer->Step(*report, stop);
    }
  }
  const auto last = bulletin_.Latest();
  if (!last) return;
  for (const auto& writer : writers_) writer->Retire(*last);
}

}  // namespace ullage::publishers
