// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "node-agent/publishers/bulletin.h"
#include "node-agent/publishers/events.h"
#include "node-agent/publishers/node_reclaim.h"
#include "node-agent/publishers/node_resource.h"
#include "node-agent/publishers/writer.h"

namespace ullage::publishers {

struct ClusterPublisherOptions {
  std::string node;  ///< its name, as the source of Events
  ResourceRules resource{};
  ReclaimRules reclaim{};
  EventRules events{};
  Voice say{};  ///< what failed and works again, and what was written; from the publisher's thread
};

/// All that write for a node, in the order of what may wait least.
std::vector<std::unique_ptr<Writer>> MakeWriters(const ClusterPublisherOptions& options,
                                                 const kube::Client& client);

/// Tells the API server of this node: the extended resource, the NodeReclaim and Events, from the
/// bulletin's latest report. One thread of its own, so a slow API server delays no tick. What the
/// mode allows is in the report; in mode observe nothing but the NodeReclaim is written.
class ClusterPublisher {
 public:
  /// Both must outlive it. Starts at once.
  ClusterPublisher(const ClusterPublisherOptions& options, const kube::Client& client,
                   const Bulletin& bulletin);
  ClusterPublisher(const ClusterPublisher&) = delete;
  ClusterPublisher& operator=(const ClusterPublisher&) = delete;
  /// Ends a call that runs, takes back the promise that nobody watches over from now on, and waits
  /// for that as long as the client's deadline.
  ~ClusterPublisher();

  struct Count {
    const char* what;
    WriteCounts writes;
  };
  /// By writer; from any thread.
  std::vector<Count> Counts() const;

 private:
  void Run(const std::stop_token& stop);

  const Bulletin& bulletin_;
  std::vector<std::unique_ptr<Writer>> writers_;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace ullage::publishers
