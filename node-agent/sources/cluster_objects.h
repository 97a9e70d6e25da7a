// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node-agent/kube/reflector.h"
#include "node-agent/model/node.h"

namespace ullage::sources {

/// The extended resource that stands for reclaimable memory, in bytes.
inline constexpr const char* kReclaimableResource = "ullage.io/reclaimable-memory";

/// A pod as the scheduler counts it: per resource the larger of what its containers and sidecars
/// request together and what each init container requests while it runs, or what the pod requests
/// as a whole, plus its overhead (Kubernetes, pkg/api/v1/resource/helpers.go). Absent: it has
/// ended. Hostile figures are expected: a sum is saturated; a memory request that cannot be read
/// counts as all there is, because it is unknown and must not raise a promise; a request of
/// reclaimable memory that cannot be read counts as none, because no kubelet can have granted it.
/// Both are faults.
std::optional<PodSample> PodOf(const kube::Item<k8s::Pod>& item);

/// Absent: the kubelet did not reject it, or it asked for no reclaimable memory.
std::optional<RejectedPod> RejectedOf(const kube::Item<k8s::Pod>& item);

/// A VMI, and which of its pods are on the node.
struct NodeVmi {
  VmiSample sample;               ///< without `launcher`
  std::vector<std::string> pods;  ///< keys of status.activePods whose value is the node
};

/// Absent: it has ended. One that cannot be read has a name, a fault and a guest of all the memory
/// there is. The fields are KubeVirt's (kubevirt.io/v1), the annotations ours; a bad one keeps its
/// default and is named in spec.bad_setting.
std::optional<NodeVmi> VmiOf(const kube::Item<k8s::VirtualMachineInstance>& item,
                             const std::string& node);

/// A node's own memory, and what is published on it.
struct NodeFacts {
  std::string uid;
  std::map<std::string, std::string> labels;
  std::optional<Bytes> allocatable;  ///< status.allocatable["memory"]
  std::optional<Bytes> published;    ///< status.capacity of our resource
  std::string fault;
};
NodeFacts NodeOf(const kube::Item<k8s::Node>& item);

}  // namespace ullage::sources
