// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/api_server.h"

#include <algorithm>

#include "node-agent/host/text.h"
#include "node-agent/publishers/node_resource.h"

namespace ullage::simulation {
namespace {

// What whole objects take as JSON, where the real server sends whole ones: assumed, of the order of
// a node with its list of images, and of a launcher pod and a VMI with their managedFields.
constexpr std::uint64_t kSizes[] = {16 << 10, 12 << 10, 10 << 10, 2 << 10};
// Pods of a node that are no VM's: DaemonSets and the like.
constexpr std::uint64_t kOtherPods = 12;
// Bookmarks come about once a minute.
constexpr milliseconds kBookmark{60000};
constexpr std::size_t kKept = 64;  // changes of one node's collection

std::string Query(const std::string& target, const std::string& key) {
  const std::size_t at = target.find(key + "=");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + key.size() + 1;
  return target.substr(begin, target.find('&', begin) - begin);
}

std::uint64_t Number(const std::string& text) { return host::ParseUnsigned(text).value_or(0); }

std::string Versioned(const std::string& meta, const std::string& rest, std::uint64_t version) {
  return R"({"metadata":{"resourceVersion":")" + std::to_string(version) + "\"" +
         (meta.empty() ? "" : "," + meta) + "}" + (rest.empty() ? "" : "," + rest) + "}";
}

std::string Line(const char* type, const std::string& object) {
  return std::string(R"({"type":")") + type + R"(","object":)" + object + "}\n";
}

ApiServer::Kind KindOf(const std::string& target) {
  if (target.starts_with("/api/v1/nodes")) return ApiServer::kNode;
  if (target.starts_with("/api/v1/pods")) return ApiServer::kPod;
  if (target.find("virtualmachineinstances") != std::string::npos) return ApiServer::kVmi;
  return ApiServer::kPolicy;
}

Error BrokenOff() { return {Code::kUnavailable, "the connection was broken off"}; }

}  // namespace

class ApiServer::NodeTransport final : public kube::Transport {
 public:
  NodeTransport(ApiServer& server, std::size_t node) : server_(server), node_(node) {}
  Result<kube::HttpHead> Exchange(const kube::HttpRequest& request, const kube::HttpLimits&,
                                  const std::stop_token& stop,
                                  const kube::Receive& receive) override {
    return server_.Exchange(node_, request, stop, receive);
  }

 private:
  ApiServer& server_;
  const std::size_t node_;
};

ApiServer::ApiServer(VirtualTime& time, std::size_t nodes, std::uint64_t seed)
    : time_(time), start_(time.now()), random_(seed), nodes_(nodes) {
  for (std::size_t node = 0; node < nodes; ++node) PutNode(node);
}

std::shared_ptr<kube::Transport> ApiServer::TransportOf(std::size_t node) {
  return std::make_shared<NodeTransport>(*this, node);
}

// The rest of the cluster writes, too: 5,000 kubelets renew their leases every 10 s.
std::uint64_t ApiServer::Revision() const {
  const milliseconds up = (away_ ? left_at_ : time_.now()) - start_ - away_for_;
  return 1000 + changes_ + static_cast<std::uint64_t>(up.count()) * nodes_.size() / 10000;
}

Load& ApiServer::Now() {
  const auto second =
      static_cast<std::size_t>(std::chrono::duration_cast<seconds>(time_.now() - start_).count());
  if (loads_.size() <= second) loads_.resize(second + 1);
  return loads_[second];
}

void ApiServer::Tell(Collection& collection, const char* type, const Object& object) {
  collection.changes.emplace_back(object.version,
                                  Line(type, Versioned(object.meta, object.rest, object.version)));
  if (collection.changes.size() > kKept) collection.changes.pop_front();
  if (collection.watcher) time_.Wake(*collection.watcher);
}

void ApiServer::Put(std::size_t node, Kind kind, const std::string& uid, const std::string& meta,
                    const std::string& rest) {
  Collection& collection = nodes_[node].collections[kind];
  const bool known = collection.objects.contains(uid);
  ++changes_;
  Object& object = collection.objects[uid];
  object = {meta, rest, Revision()};
  Tell(collection, known ? "MODIFIED" : "ADDED", object);
}

void ApiServer::Remove(std::size_t node, Kind kind, const std::string& uid) {
  Collection& collection = nodes_[node].collections[kind];
  auto object = collection.objects.extract(uid);
  if (object.empty()) return;
  ++changes_;
  object.mapped().version = Revision();
  Tell(collection, "DELETED", object.mapped());
}

void ApiServer::PutNode(std::size_t node) {
  const std::string name = std::to_string(node);
  const auto& value = nodes_[node].published;
  const std::string ours = value ? "\"" + std::string(publishers::kReclaimableMemory) + "\":\"" +
                                       std::to_string(value->count()) + "\""
                                 : "";
  Put(node, kNode, "node-" + name, R"("name":"n)" + name + R"(","uid":"node-)" + name + "\"",
      R"("status":{"capacity":{)" + ours + R"(},"allocatable":{"memory":"65449776Ki"}})");
}

void ApiServer::Heartbeat(std::size_t node) {
  if (!away_) PutNode(node);
}

void ApiServer::Publish(std::size_t node, std::optional<Bytes> value) {
  nodes_[node].published = value;
  PutNode(node);
}

void ApiServer::Leave() {
  left_at_ = time_.now();
  away_ = true;
  ++life_;
  for (NodeObjects& node : nodes_) {
    for (Collection& collection : node.collections) {
      if (collection.watcher) time_.Wake(*collection.watcher);
    }
  }
}

void ApiServer::Return() {
  away_for_ += time_.now() - left_at_;
  away_ = false;
  oldest_ = Revision();
  for (NodeObjects& node : nodes_) {
    for (Collection& collection : node.collections) collection.changes.clear();
  }
}

Result<kube::HttpHead> ApiServer::Exchange(std::size_t node, const kube::HttpRequest& request,
                                           const std::stop_token& stop,
                                           const kube::Receive& receive) {
  if (!time_.For(milliseconds(2 + random_.Below(10)), stop)) return BrokenOff();
  if (away_) {
    ++Now().refused;
    return Error(Code::kUnavailable, "connection refused");
  }
  if (request.method != "GET") return Write(node, request, receive);
  const Kind kind = KindOf(request.target);
  if (Query(request.target, "watch") == "true") {
    return Watch(node, kind, request.target, stop, receive);
  }
  return List(node, kind, request.target, receive);
}

Result<kube::HttpHead> ApiServer::List(std::size_t node, Kind kind, const std::string& target,
                                       const kube::Receive& receive) {
  const Collection& collection = nodes_[node].collections[kind];
  std::string text =
      R"({"metadata":{"resourceVersion":")" + std::to_string(Revision()) + R"("},"items":[)";
  bool first = true;
  for (const auto& [uid, object] : collection.objects) {
    text += (first ? "" : ",") + Versioned(object.meta, object.rest, object.version);
    first = false;
  }
  text += "]}";
  const std::string version = Query(target, "resourceVersion");
  const bool limited = !Query(target, "limit").empty() && version != "0";
  Load& now = Now();
  ++(version.empty() || limited ? now.etcd_lists : now.lists);
  const std::uint64_t others = kind == kPod ? kOtherPods : 0;
  now.listed += (collection.objects.size() + others) * kSizes[kind];
  const kube::HttpHead head{200, {}};
  if (const Status taken = receive(head, text); !taken) return taken.error();
  return head;
}

Status ApiServer::Stream(Collection& collection, std::uint64_t version, milliseconds end,
                         const std::stop_token& stop, const kube::Receive& receive) {
  const kube::HttpHead head{200, {}};
  const std::uint64_t life = life_;
  milliseconds bookmark = time_.now() + kBookmark / 2 + milliseconds(random_.Below(30000));
  for (;;) {
    for (std::size_t i = 0; i < collection.changes.size(); ++i) {
      const auto [at, line] = collection.changes[i];
      if (at <= version) continue;
      version = at;
      ++Now().watch_lines;
      if (const Status taken = receive(head, line); !taken) return taken;
    }
    if (time_.now() >= end) return Ok();
    if (time_.now() >= bookmark) {
      bookmark = time_.now() + kBookmark;
      ++Now().watch_lines;
      version = std::max(version, Revision());
      const std::string line = Line("BOOKMARK", Versioned("", "", version));
      if (const Status taken = receive(head, line); !taken) return taken;
    }
    time_.WaitUntil(std::min(end, bookmark));
    if (life_ != life || stop.stop_requested()) return BrokenOff();
  }
}

Result<kube::HttpHead> ApiServer::Watch(std::size_t node, Kind kind, const std::string& target,
                                        const std::stop_token& stop, const kube::Receive& receive) {
  ++Now().watches;
  const kube::HttpHead head{200, {}};
  const std::uint64_t version = Number(Query(target, "resourceVersion"));
  if (version < oldest_) {
    const Status taken =
        receive(head, Line("ERROR", R"({"kind":"Status","reason":"Expired","code":410})"));
    if (!taken) return taken.error();
    return head;
  }
  Collection& collection = nodes_[node].collections[kind];
  collection.watcher = time_.Self();
  ++watches_;
  const milliseconds end = time_.now() + seconds(Number(Query(target, "timeoutSeconds")));
  const Status streamed = Stream(collection, version, end, stop, receive);
  --watches_;
  collection.watcher.reset();
  if (!streamed) return streamed.error();
  return head;
}

Result<kube::HttpHead> ApiServer::Write(std::size_t node, const kube::HttpRequest& request,
                                        const kube::Receive& receive) {
  Load& now = Now();
  now.written += request.body.size();
  if (request.target.starts_with("/api/v1/nodes/")) {
    ++now.nodes;
    const bool removes = request.body.find(R"("op":"remove")") != std::string::npos;
    const std::string key = R"("value":")";
    const std::size_t at = request.body.find(key) + key.size();
    const auto value = Bytes(static_cast<std::int64_t>(
        Number(request.body.substr(at, request.body.find('"', at) - at))));
    Publish(node, removes ? std::nullopt : std::optional(value));
  } else if (request.target.find("nodereclaims") != std::string::npos) {
    ++now.reclaims;
    ++changes_;
    most_reclaim_ = std::max(most_reclaim_, request.body.size());
  } else {
    ++now.events;
    ++changes_;
  }
  const kube::HttpHead head{200, {}};
  if (const Status taken = receive(head, "{}"); !taken) return taken.error();
  return head;
}

}  // namespace ullage::simulation
