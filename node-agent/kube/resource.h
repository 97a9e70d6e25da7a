// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/model/result.h"

namespace ullage::kube {

/// A kind of object, as its URL names it.
struct Resource {
  std::string_view group;  ///< "" is Kubernetes' core
  std::string_view version;
  std::string_view plural;
};
inline constexpr Resource kNodes{"", "v1", "nodes"};
inline constexpr Resource kPods{"", "v1", "pods"};
inline constexpr Resource kEvents{"", "v1", "events"};
inline constexpr Resource kLeases{"coordination.k8s.io", "v1", "leases"};
inline constexpr Resource kVmis{"kubevirt.io", "v1", "virtualmachineinstances"};
inline constexpr Resource kMigrations{"kubevirt.io", "v1", "virtualmachineinstancemigrations"};
inline constexpr Resource kNodeReclaims{"ullage.io", "v1alpha1", "nodereclaims"};
inline constexpr Resource kReclaimPolicies{"ullage.io", "v1alpha1", "reclaimpolicies"};

/// One object, or without a name all of them; without a namespace those of the whole cluster.
struct ObjectRef {
  Resource resource;
  std::string name_space{};
  std::string name{};
  std::string subresource{};  ///< "status", "eviction"
};

/// Which of the objects; empty: all.
struct Selection {
  std::string labels{};  ///< "kubevirt.io/nodeName=n1"
  std::string fields{};  ///< "spec.nodeName=n1"
};

/// RFC 3986: whatever is not unreserved becomes %XX.
std::string PercentEncode(std::string_view text);

/// "/api/v1/namespaces/a/pods/b". Names come from foreign objects, and one that is more than one
/// piece of a path would make it another path: kInvalid.
Result<std::string> PathOf(const ObjectRef& ref);

/// "/api/v1" or "/apis/GROUP/VERSION", where discovery answers.
std::string GroupPath(const Resource& resource);

}  // namespace ullage::kube
