// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/kubernetes.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>

#include "node-agent/host/cgroup_namespace.h"
#include "node-agent/kube/cpprest_transport.h"
#include "node-agent/kube/kubeconfig.h"

namespace ullage::agent {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

PodSurroundings PodSurroundings::OfThisProcess() {
  return {Environment("NODE_NAME"), Environment("POD_UID"), kube::PodEnvironment::OfThisProcess()};
}

Result<host::Roots> HostRoots(const Config::Kubernetes& config, const PodSurroundings& pod) {
  host::Roots roots;
  roots.proc = config.proc;
  roots.cgroup = config.cgroup;
  if (pod.pod_uid.empty()) return roots;
  auto own = host::CgroupNamespaceRoot(roots, pod.pod_uid, getpid());
  if (!own) return own.error().In("this pod's own cgroup");
  roots.cgroup_namespace = *std::move(own);
  return roots;
}

Result<std::unique_ptr<KubernetesNode>> KubernetesNode::Start(const Config& config,
                                                              const PodSurroundings& pod,
                                                              const host::Clock& clock, Told told) {
  const Config::Kubernetes& kubernetes = config.kubernetes;
  std::string name = kubernetes.node.empty() ? pod.node_name : kubernetes.node;
  if (name.empty()) {
    return Error(Code::kInvalid,
                 "no node's name: set kubernetes.node, or NODE_NAME in the environment "
                 "(--standalone works without Kubernetes)");
  }
  const auto access = kubernetes.kubeconfig.empty() ? kube::InCluster(pod.service)
                                                    : kube::LoadKubeconfig(kubernetes.kubeconfig);
  if (!access) return access.error().In("the way to the API server");
  auto transport = kube::MakeTransport(*access);
  if (!transport) return transport.error();
  std::unique_ptr<KubernetesNode> node(
      new KubernetesNode(std::move(name), *std::move(transport), clock, std::move(told)));
  auto source = sources::ClusterSource::Start(node->client_, {node->name_, config.policy});
  if (!source) return source.error();
  node->source_ = *std::move(source);
  if (kubernetes.node_hook_socket.empty()) return node;
  publishers::NodeHookServerOptions options;
  options.socket = kubernetes.node_hook_socket;
  options.say = [](const std::string& line) { spdlog::warn("node hooks: {}", line); };
  auto hooks = publishers::NodeHookServer::Start(options, *node);
  if (!hooks) return hooks.error();
  node->hooks_ = *std::move(hooks);
  return node;
}

NodeSample KubernetesNode::Read() {
  NodeSample sample = source_->Read();
  told_.node(sample);
  return sample;
}

}  // namespace ullage::agent
