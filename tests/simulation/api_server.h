// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/kube/http.h"
#include "node-agent/model/bytes.h"
#include "node-agent/simulation/random.h"
#include "tests/simulation/virtual_time.h"

namespace ullage::simulation {

/// What an API server was asked for in one second.
struct Load {
  std::uint32_t watches = 0;      ///< begun
  std::uint32_t lists = 0;        ///< from its watch cache
  std::uint32_t etcd_lists = 0;   ///< that it has to read from etcd
  std::uint32_t nodes = 0;        ///< writes to Nodes' status
  std::uint32_t reclaims = 0;     ///< writes to NodeReclaims
  std::uint32_t events = 0;       ///< writes of Events
  std::uint32_t refused = 0;      ///< connections, while it is away: it does not feel them
  std::uint64_t listed = 0;       ///< bytes of lists
  std::uint64_t written = 0;      ///< bytes of requests that write
  std::uint32_t watch_lines = 0;  ///< changes and bookmarks that it sent
  std::uint32_t Writes() const { return nodes + reclaims + events; }
  std::uint32_t Requests() const { return watches + lists + etcd_lists + Writes(); }
};

/// The API server of a cluster with so many nodes, as far as their agents see it: lists, watches
/// with bookmarks and an end, versions that expire at a restart, writes. It answers in a few
/// milliseconds whatever the load: what is to be found out is how much it would have to bear.
///
/// Versions and caches are those of kubernetes/kubernetes (storage/cacher): after a restart the
/// watch cache begins at the version of that moment, so a watch from before is 410; a list comes
/// from etcd where it names no version, or has a limit and another version than 0.
class ApiServer {
 public:
  enum Kind : std::size_t { kNode, kPod, kVmi, kPolicy };

  ApiServer(VirtualTime& time, std::size_t nodes, std::uint64_t seed);

  /// How the agent of a node reaches it.
  std::shared_ptr<kube::Transport> TransportOf(std::size_t node);

  /// `meta`, `rest`: the fields of an object's metadata but for its version, and its others.
  void Put(std::size_t node, Kind kind, const std::string& uid, const std::string& meta,
           const std::string& rest);
  void Remove(std::size_t node, Kind kind, const std::string& uid);
  /// The kubelet has written the node's status.
  void Heartbeat(std::size_t node);
  void Publish(std::size_t node, std::optional<Bytes> value);
  std::optional<Bytes> published(std::size_t node) const { return nodes_[node].published; }

  void Leave();
  void Return();
  bool away() const { return away_; }

  /// By the second since the beginning of `time`.
  const std::vector<Load>& loads() const { return loads_; }
  std::size_t watches() const { return watches_; }
  std::size_t most_reclaim() const { return most_reclaim_; }

 private:
  class NodeTransport;
  struct Object {
    std::string meta, rest;
    std::uint64_t version = 0;
  };
  struct Collection {
    std::map<std::string, Object> objects;  // by UID
    std::deque<std::pair<std::uint64_t, std::string>> changes;
    std::optional<VirtualTime::Id> watcher;
  };
  struct NodeObjects {
    std::array<Collection, 4> collections;
    std::optional<Bytes> published;
  };

  Result<kube::HttpHead> Exchange(std::size_t node, const kube::HttpRequest& request,
                                  const std::stop_token& stop, const kube::Receive& receive);
  Result<kube::HttpHead> List(std::size_t node, Kind kind, const std::string& target,
                              const kube::Receive& receive);
  Result<kube::HttpHead> Watch(std::size_t node, Kind kind, const std::string& target,
                               const std::stop_token& stop, const kube::Receive& receive);
  Status Stream(Collection& collection, std::uint64_t version, milliseconds end,
                const std::stop_token& stop, const kube::Receive& receive);
  Result<kube::HttpHead> Write(std::size_t node, const kube::HttpRequest& request,
                               const kube::Receive& receive);
  void PutNode(std::size_t node);
  void Tell(Collection& collection, const char* type, const Object& object);
  std::uint64_t Revision() const;
  Load& Now();

  VirtualTime& time_;
  const milliseconds start_;
  Random random_;
  std::vector<NodeObjects> nodes_;
  std::vector<Load> loads_;
  std::uint64_t changes_ = 0;
  std::uint64_t oldest_ = 0;  // of the versions that a watch may begin at
  bool away_ = false;
  milliseconds left_at_{0};
  milliseconds away_for_{0};
  std::uint64_t life_ = 0;
  std::size_t watches_ = 0;
  std::size_t most_reclaim_ = 0;  // bytes
};

}  // namespace ullage::simulation
