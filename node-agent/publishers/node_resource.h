// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/kube/client.h"
#include "node-agent/model/plan.h"
#include "node-agent/publishers/writer.h"

namespace ullage::publishers {

/// The extended resource on the Node, in bytes.
inline constexpr std::string_view kReclaimableMemory = "ullage.io/reclaimable-memory";

/// What the Node's capacity and allocatable hold of the resource; absent: there is no such key.
using OnNode = std::optional<Bytes>;

struct ResourceRules {
  Bytes quantum = Bytes::MiB(64);
  milliseconds increase_every{60000};  ///< at least, between two increases; 0 for tests
  Bytes dead_band = Bytes::MiB(128);   ///< a smaller increase is not worth a write
  /// A write that was made and is not seen on the Node for so long was undone by somebody.
  milliseconds believe_for{10000};
  /// Watches send a bookmark every minute or so; an API server that was not heard for longer than
  /// this may have bound pods that we do not know of, so nothing is lowered …
  milliseconds stale_after{150000};
  /// … and after this the promise is withdrawn, because nobody can say what it is worth.
  milliseconds forget_after{300000};
};

/// What one tick says of the resource.
struct ResourceFacts {
  bool publish = false;   ///< mode publish or reclaim
  bool followed = false;  ///< the rest is the API server's word of now
  bool lost = false;      ///< it was the API server's word, too long ago
  OnNode seen;
  Bytes wanted;   ///< granted and what may be promised in addition
  Bytes granted;  ///< what pods that are bound here hold
};

/// What was written and may not be seen yet: the Node comes back through a watch.
struct ResourceState {
  OnNode written;
  std::vector<OnNode> older;  ///< what the Node may still show instead; empty: nothing is awaited
  BootTime believe_until;
  std::optional<BootTime> next_increase;  ///< not before; absent: at any time
};

struct ResourceWrite {
  OnNode value;  ///< absent: remove the key
  bool increase = false;
};

/// What has to be written, if anything. Pure. After the rules by which kubelet and scheduler treat
/// extended resources (kubernetes/kubernetes, pkg/kubelet/lifecycle/predicate.go): a kubelet that
/// starts rejects pods that hold more than the Node has, unless the Node does not know the resource
/// at all. So a value is never below what is granted and never 0; instead the key is removed, which
/// keeps newcomers away and no pod from running.
///
/// - a decrease is written at once, and so is a value that a bind has left below what is granted;
/// - an increase waits for its turn, and has to be larger than the dead band;
/// - in mode observe no value is written; one that is still there from a time in which the mode was
///   another is removed.
/// `state` is brought up to date with what is seen; Wrote() tells it of a write.
std::optional<ResourceWrite> NextWrite(const ResourceFacts& facts, const ResourceRules& rules,
                                       ResourceState& state, BootTime now);

/// A write was made at `now`; `jitter` (0 to 1) spreads nodes that rise at the same time.
void Wrote(const ResourceWrite& write, const ResourceFacts& facts, const ResourceRules& rules,
           double jitter, ResourceState& state, BootTime now);

ResourceFacts FactsOf(const Report& report, const ResourceRules& rules);

/// `own`, with what the ReclaimPolicy in force says instead.
ResourceRules RulesOf(const Report& report, ResourceRules own);

/// One JSON patch for capacity and allocatable: the kubelet builds allocatable anew from capacity.
/// Holds whether or not the keys are there.
kube::JsonPatch PatchOf(const OnNode& value);

/// Keeps the Node at what NextWrite says. For one thread.
class NodeResource final : public Writer {
 public:
  NodeResource(const kube::Client& client, ResourceRules rules, Voice voice)
      : Writer("node-resource", client, std::move(voice)), rules_(rules) {}

  void Step(const Report& report, const std::stop_token& stop) override;

  /// At the end of the agent: nobody watches over the promise any more, so the key is removed where
  /// this agent publishes.
  void Retire(const Report& report) override;

 private:
  Status Write(const std::string& node, const OnNode& value, const std::stop_token& stop);

  const ResourceRules rules_;
  ResourceState state_;
};

}  // namespace ullage::publishers
