// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace ullage::publishers {

/// When KubeVirt (1.9 and later) calls a node's plugins.
enum class NodeHookPoint {
  kPreVmStart,
  kPostVmStart,
  kPreVmStop,
  kPostVmStop,
  kPreMigrationSource,
  kPreMigrationTarget,
  kPostMigrationTarget,
};
inline constexpr std::array kNodeHookPoints{
    NodeHookPoint::kPreVmStart,         NodeHookPoint::kPostVmStart,
    NodeHookPoint::kPreVmStop,          NodeHookPoint::kPostVmStop,
    NodeHookPoint::kPreMigrationSource, NodeHookPoint::kPreMigrationTarget,
    NodeHookPoint::kPostMigrationTarget};

/// As KubeVirt writes it.
constexpr std::string_view Name(NodeHookPoint point) {
  switch (point) {
    case NodeHookPoint::kPreVmStart:
      return "PreVMStart";
    case NodeHookPoint::kPostVmStart:
      return "PostVMStart";
    case NodeHookPoint::kPreVmStop:
      return "PreVMStop";
    case NodeHookPoint::kPostVmStop:
      return "PostVMStop";
    case NodeHookPoint::kPreMigrationSource:
      return "PreMigrationSource";
    case NodeHookPoint::kPreMigrationTarget:
      return "PreMigrationTarget";
    case NodeHookPoint::kPostMigrationTarget:
      return "PostMigrationTarget";
  }
  return "PreVMStart";
}

constexpr std::optional<NodeHookPoint> ToNodeHookPoint(std::string_view name) {
  for (const NodeHookPoint point : kNodeHookPoints) {
    if (name == Name(point)) return point;
  }
  return std::nullopt;
}

/// One call. The names are Kubernetes' own (node-agent/api/vmi.h): safe to show and to compare.
struct NodeHookCall {
  NodeHookPoint point = NodeHookPoint::kPreVmStart;
  std::string vmi_namespace;
  std::string vmi_name;
  std::string vmi_uid;
};

/// Who is told. virt-handler waits for the answer, and with it the VM's start, end or migration.
class NodeHookListener {
 public:
  NodeHookListener() = default;
  NodeHookListener(const NodeHookListener&) = delete;
  NodeHookListener& operator=(const NodeHookListener&) = delete;
  virtual ~NodeHookListener() = default;

  /// Must return at once (enqueue) and never fail. KubeVirt repeats calls: the second of a kind
  /// changes nothing. Called from gRPC's threads, at the same time.
  virtual void OnNodeHook(const NodeHookCall& call) = 0;
};

}  // namespace ullage::publishers
