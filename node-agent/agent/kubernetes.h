// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "node-agent/agent/config.h"
#include "node-agent/host/clock.h"
#include "node-agent/host/file.h"
#include "node-agent/kube/client.h"
#include "node-agent/kube/credentials.h"
#include "node-agent/publishers/node_hook_server.h"
#include "node-agent/sources/cluster.h"

namespace ullage::agent {

/// What the kubelet and the runtime put around this process.
struct PodSurroundings {
  std::string node_name;  ///< NODE_NAME
  std::string pod_uid;    ///< POD_UID; empty: this is no pod
  kube::PodEnvironment service;

  static PodSurroundings OfThisProcess();
};

/// Where the host's trees hang, and which part of its cgroups we are in. Errors: those of
/// CgroupNamespaceRoot.
Result<host::Roots> HostRoots(const Config::Kubernetes& config, const PodSurroundings& pod);

/// A node's part of Kubernetes mode that needs no QEMU: the way to the API server, what it says of
/// this node, and KubeVirt's node hooks.
class KubernetesNode final : public sources::NodeReader, public publishers::NodeHookListener {
 public:
  /// Who wants to know. Both are called without waiting for anything.
  struct Told {
    std::function<void(const NodeSample&)> node = [](const NodeSample&) {};  ///< each tick
    std::function<void(const publishers::NodeHookCall&)> hook =
        [](const publishers::NodeHookCall&) {};  ///< from any thread
  };

  /// Never waits for the API server: while it is away, the samples say so. kInvalid, kNotFound: no
  /// node's name, or no credentials; kExists: the hooks' socket is taken.
  static Result<std::unique_ptr<KubernetesNode>> Start(const Config& config,
                                                       const PodSurroundings& pod,
                                                       const host::Clock& clock, Told told);

  const std::string& name() const { return name_; }
  const kube::Client& client() const { return client_; }
  /// Null: they are not served.
  const publishers::NodeHookServer* hooks() const { return hooks_.get(); }

  NodeSample Read() override;
  void OnNodeHook(const publishers::NodeHookCall& call) override { told_.hook(call); }

 private:
  KubernetesNode(std::string name, std::shared_ptr<kube::Transport> transport,
                 const host::Clock& clock, Told told)
      : name_(std::move(name)),
        client_(std::move(transport), {pause_, clock, kube::SystemRandom()}),
        told_(std::move(told)) {}

  const std::string name_;
  kube::RealPause pause_;
  kube::Client client_;
  const Told told_;
  std::unique_ptr<sources::ClusterSource> source_;
  std::unique_ptr<publishers::NodeHookServer> hooks_;
};

}  // namespace ullage::agent
