// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/cleanup.h"

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "node-agent/host/text.h"
#include "node-agent/kube/quantity.h"

namespace ullage::clients {
namespace {

constexpr const char* kKey = "ullage.io/reclaimable-memory";
using kube::kNodeReclaims;
constexpr const char* kAlive = "status.phase!=Succeeded,status.phase!=Failed";
constexpr milliseconds kLookAgain{1000};

using Say = std::function<void(const std::string&)>;
using Quantities = google::protobuf::Map<std::string, google::protobuf::Value>;

struct Holder {
  std::string pod;  ///< namespace/name, printable
  std::int64_t bytes = 0;
};
using Holders = std::vector<Holder>;

// A figure that cannot be read holds all there is: nobody may lose what he was granted.
std::int64_t Held(const Quantities& quantities) {
  const auto found = quantities.find(kKey);
  if (found == quantities.end()) return 0;
  const auto value = kube::ParseQuantity(found->second);
  return value ? std::max<std::int64_t>(0, *value) : std::numeric_limits<std::int64_t>::max();
}

std::int64_t Sum(std::int64_t a, std::int64_t b) {
  return a > std::numeric_limits<std::int64_t>::max() - b ? std::numeric_limits<std::int64_t>::max()
                                                          : a + b;
}

// All containers together, which is at least what the scheduler counts: it takes the larger of
// those that run at the same time.
std::int64_t HeldBy(const k8s::Pod& pod) {
  std::int64_t held = 0;
  for (const auto* containers : {&pod.spec().containers(), &pod.spec().init_containers()}) {
    for (const k8s::Container& container : *containers) {
      held = Sum(held, std::max(Held(container.resources().requests()),
                                Held(container.resources().limits())));
    }
  }
  return held;
}

std::string NameOf(const k8s::ObjectMeta& meta) {
  return host::Printable(meta.namespace_() + "/" + meta.name());
}

std::map<std::string, Holders> HoldersByNode(const k8s::PodList& pods) {
  std::map<std::string, Holders> nodes;
  for (const k8s::Pod& pod : pods.items()) {
    if (pod.spec().node_name().empty()) continue;
    if (const std::int64_t held = HeldBy(pod); held > 0) {
      nodes[pod.spec().node_name()].push_back({NameOf(pod.metadata()), held});
    }
  }
  return nodes;
}

std::int64_t SumOf(const Holders& holders) {
  std::int64_t sum = 0;
  for (const Holder& holder : holders) sum = Sum(sum, holder.bytes);
  return sum;
}

class Cleaner {
 public:
  Cleaner(const kube::Client& client, bool only_look, const Say& say)
      : client_(client), only_look_(only_look), say_(say) {}

  Status WaitForPods(const CleanupOptions& options) const;
  Status CleanNodes();
  Status DeleteReclaims();
  const Leftovers& left() const { return left_; }

 private:
  void Clean(const k8s::Node& node, const Holders& holders);
  void Lower(const k8s::Node& node, const Holders& holders);
  Status Set(const k8s::Node& node, std::int64_t bytes) const;
  void Failed(const std::string& what, const Error& error) {
    ++left_.failed;
    say_(what + ": " + error.message());
  }

  const kube::Client& client_;
  const bool only_look_;
  const Say& say_;
  Leftovers left_;
};

Status Cleaner::WaitForPods(const CleanupOptions& options) const {
  if (options.after_pods.empty()) return Ok();
  const BootTime until = client_.timing().clock.Now().boot + options.patience;
  for (;;) {
    const auto pods =
        client_.List<k8s::PodList>({kube::kPods, options.name_space}, {options.after_pods, kAlive});
    if (!pods) return pods.error().In("pods of the agent");
    if (pods->items().empty()) return Ok();
    if (client_.timing().clock.Now().boot >= until) {
      return Error(Code::kDeadline,
                   NameOf(pods->items(0).metadata()) + " still runs; it would publish again");
    }
    client_.timing().pause.For(kLookAgain, {});
  }
}

Status Cleaner::Set(const k8s::Node& node, std::int64_t bytes) const {
  kube::JsonPatch patch;
  patch.Add({"status", "capacity", kKey}, std::to_string(bytes));
  patch.Add({"status", "allocatable", kKey}, std::to_string(bytes));
  const auto done = client_.PatchText({kube::kNodes, "", node.metadata().name(), "status"},
                                      kube::Patch::Json(patch));
  return done ? Ok() : Status(done.error());
}

void Cleaner::Lower(const k8s::Node& node, const Holders& holders) {
  const std::string name = host::Printable(node.metadata().name());
  ++left_.held;
  const std::int64_t held = SumOf(holders);
  for (const Holder& holder : holders) {
    say_("node " + name + ": " + holder.pod + " stands on " + std::to_string(holder.bytes >> 20) +
         " MiB of " + kKey);
  }
  if (only_look_) return;
  const std::int64_t before = Held(node.status().capacity());
  if (before <= held) return;
  if (const Status set = Set(node, held); !set) return Failed("node " + name, set.error());
  say_("node " + name + ": lowered to what is held");
  // What was bound before the scheduler heard of it counts, too.
  const auto pods = client_.List<k8s::PodList>(
      {kube::kPods}, {"", "spec.nodeName=" + node.metadata().name() + "," + kAlive});
  if (!pods) return Failed("node " + name, pods.error());
  const std::int64_t now = SumOf(HoldersByNode(*pods)[node.metadata().name()]);
  if (now <= held) return;
  if (const Status set = Set(node, std::min(now, before)); !set) {
    Failed("node " + name, set.error());
  }
}

void Cleaner::Clean(const k8s::Node& node, const Holders& holders) {
  kube::JsonPatch patch;
  bool published = false;
  // The kubelet makes allocatable of capacity, and drops there what capacity lacks.
  if (node.status().capacity().contains(kKey)) {
    patch.Remove({"status", "capacity", kKey});
    published = true;
  }
  if (node.status().allocatable().contains(kKey)) {
    patch.Remove({"status", "allocatable", kKey});
    published = true;
  }
  if (!published) return;
  if (!holders.empty()) return Lower(node, holders);
  if (only_look_) return;
  const std::string name = "node " + host::Printable(node.metadata().name());
  const auto done = client_.PatchText({kube::kNodes, "", node.metadata().name(), "status"},
                                      kube::Patch::Json(patch));
  if (!done) return Failed(name, done.error());
  say_(name + ": " + kKey + " removed");
}

Status Cleaner::CleanNodes() {
  const auto nodes = client_.List<k8s::NodeList>({kube::kNodes});
  if (!nodes) return nodes.error().In("nodes");
  const auto pods = client_.List<k8s::PodList>({kube::kPods}, {"", kAlive});
  if (!pods) return pods.error().In("pods");
  auto holders = HoldersByNode(*pods);
  for (const k8s::Node& node : nodes->items()) Clean(node, holders[node.metadata().name()]);
  return Ok();
}

Status Cleaner::DeleteReclaims() {
  const auto all = client_.List<k8s::MetaOnlyList>({kNodeReclaims});
  if (!all) {
    // Without its definition there are none.
    return all.error().code() == Code::kNotFound ? Ok() : Status(all.error().In("NodeReclaims"));
  }
  for (const k8s::MetaOnly& item : all->items()) {
    const std::string& name = item.metadata().name();
    const Status done = client_.Delete({kNodeReclaims, "", name}, item.metadata().uid());
    if (!done && done.error().code() != Code::kNotFound) {
      Failed("NodeReclaim " + host::Printable(name), done.error());
    } else {
      say_("NodeReclaim " + host::Printable(name) + ": deleted");
    }
  }
  return Ok();
}

}  // namespace

Result<Leftovers> CleanUp(const kube::Client& client, const CleanupOptions& options,
                          const Say& say) {
  Cleaner cleaner(client, options.only_look, say);
  if (!options.only_look) {
    if (const Status waited = cleaner.WaitForPods(options); !waited) return waited.error();
  }
  if (const Status cleaned = cleaner.CleanNodes(); !cleaned) return cleaned.error();
  if (options.only_look) return cleaner.left();
  if (const Status deleted = cleaner.DeleteReclaims(); !deleted) return deleted.error();
  return cleaner.left();
}

}  // namespace ullage::clients
