// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster_state.h"

#include <algorithm>

#include "node-agent/host/text.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kMaxFault = 512;

void Add(std::string& fault, const std::string& where, const std::string& what) {
  if (what.empty()) return;
  fault += (fault.empty() ? "" : "; ") + where + ": " + host::Printable(what, kMaxFault);
}

}  // namespace

ClusterState::ClusterState(std::string node, PolicyParams own)
    : name_(std::move(node)),
      own_(std::move(own)),
      nodes_([](const auto& item) { return std::optional(NodeOf(item)); }, false),
      pods_([](const auto& item) { return PodOf(item); }, false),
      vmis_([name = name_](const auto& item) { return VmiOf(item, name); }, true),
      policies_([](auto item) { return std::optional(std::move(item)); }, true) {}

bool ClusterState::listed() const {
  return nodes_.listed() && pods_.listed() && vmis_.listed() && policies_.listed();
}

NodeSample ClusterState::Read() {
  NodeSample sample;
  sample.name = name_;
  Labels labels;
  TakeNode(sample, labels);
  TakePodsAndVms(sample);
  rejected_.Take(sample);
  TakePolicy(sample, labels);
  return sample;
}

void ClusterState::TakeNode(NodeSample& sample, Labels& labels) const {
  auto nodes = nodes_.Read();
  Add(sample.fault, "node", nodes.listed || !nodes.fault.empty() ? nodes.fault : "not listed yet");
  if (nodes.all.empty()) {
    if (nodes.listed) Add(sample.fault, "node", "the API server has none of this name");
    return;
  }
  NodeFacts& node = nodes.all.front();
  Add(sample.fault, "node", node.fault);
  sample.uid = std::move(node.uid);
  sample.allocatable = node.allocatable;
  sample.published = node.published;
  labels = std::move(node.labels);
}

void ClusterState::TakePodsAndVms(NodeSample& sample) {
  const std::uint64_t of_pods = pods_.version(), of_vmis = vmis_.version();
  if (!joined_ || joined_->of_pods != of_pods || joined_->of_vmis != of_vmis) {
    // What changes between the two lines is seen once more in the next tick.
    joined_ = Join();
    joined_->of_pods = of_pods;
    joined_->of_vmis = of_vmis;
  }
  sample.pods = joined_->pods;
  sample.vmis = joined_->vmis;
  sample.fault += (sample.fault.empty() || joined_->fault.empty() ? "" : "; ") + joined_->fault;
}

ClusterState::Joined ClusterState::Join() const {
  Joined joined;
  auto pods = pods_.Read();
  auto vmis = vmis_.Read();
  Add(joined.fault, "pods", pods.listed || !pods.fault.empty() ? pods.fault : "not listed yet");
  Add(joined.fault, "VMIs", vmis.listed || !vmis.fault.empty() ? vmis.fault : "not listed yet");
  std::map<std::string, PodSample*> by_uid;
  for (PodSample& pod : pods.all) by_uid[pod.uid] = &pod;
  std::vector<VmiSample>& all = joined.vmis.Edit();
  for (NodeVmi& vmi : vmis.all) {
    std::erase_if(vmi.pods, [&](const std::string& uid) {
      const auto pod = by_uid.find(uid);
      return pod == by_uid.end() || pod->second->vmi != vmi.sample.spec.id;
    });
    if (vmi.pods.size() == 1) vmi.sample.launcher = vmi.pods.front();
    if (vmi.pods.size() > 1) {
      Add(vmi.sample.fault, "launcher",
          "it has " + std::to_string(vmi.pods.size()) + " pods here, and which is it is not known");
    }
    all.push_back(std::move(vmi.sample));
  }
  std::map<VmId, const VmiSample*> known;
  for (const VmiSample& vmi : all) known[vmi.spec.id] = &vmi;
  // Whoever may make pods may give them any label: in another namespace it is not the VMI's.
  for (PodSample& pod : pods.all) {
    if (!pod.vmi) continue;
    const auto vmi = known.find(*pod.vmi);
    if (vmi == known.end() || vmi->second->name_space == pod.name_space) continue;
    Add(pod.fault, "kubevirt.io/created-by", "names a VMI of another namespace");
    pod.vmi.reset();
  }
  joined.pods = SharedList(std::move(pods.all));
  return joined;
}

void ClusterState::TakePolicy(NodeSample& sample, const Labels& labels) {
  const std::uint64_t version = policies_.version();
  if (!chosen_ || version != chosen_of_ || labels != chosen_for_) {
    auto policies = policies_.Read();
    chosen_ = ChoosePolicy(policies.all, labels, own_);
    Add(chosen_->fault, "ReclaimPolicies",
        policies.listed || !policies.fault.empty() ? policies.fault : "not listed yet");
    chosen_of_ = version;
    chosen_for_ = labels;
  }
  sample.policy = chosen_->name;
  sample.policy_fault = chosen_->fault;
  sample.max_mode = chosen_->max_mode;
  sample.params = chosen_->params;
}

}  // namespace ullage::sources
