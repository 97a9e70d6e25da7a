// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/kubernetes.h"

#include <gmock/gmock.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::agent {
namespace {

using testing::HasSubstr;

std::optional<Error> StartError(const Config& config, const PodSurroundings& pod) {
  const host::SystemClock clock;
  const auto node = KubernetesNode::Start(config, pod, clock, {});
  return node ? std::nullopt : std::optional(node.error());
}

TEST(KubernetesNode, SaysWhatItMisses) {
  const auto nameless = StartError({}, {});
  ASSERT_TRUE(nameless);
  EXPECT_EQ(nameless->code(), Code::kInvalid);
  EXPECT_THAT(nameless->message(), HasSubstr("NODE_NAME"));
  EXPECT_THAT(nameless->message(), HasSubstr("--standalone"));
  const auto nowhere = StartError({}, {"n1", "", {}});
  ASSERT_TRUE(nowhere);
  EXPECT_EQ(nowhere->code(), Code::kNotFound) << nowhere->message();
  Config config;
  config.kubernetes.kubeconfig = "/nonexistent/kubeconfig";
  EXPECT_TRUE(StartError(config, {"n1", "", {}}));
}

TEST(KubernetesNode, StartsWithoutAnApiServerAndSaysSo) {
  const host::TemporaryTree tree;
  tree.Write("kubeconfig",
             "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
             "clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n"
             "users: [{name: u, user: {token: t}}]\n"
             "contexts: [{name: c, context: {cluster: k, user: u}}]\n");
  Config config;
  config.kubernetes.kubeconfig = tree.path("kubeconfig");
  config.kubernetes.node = "mine";
  config.kubernetes.node_hook_socket = tree.path("hooks.sock");
  const host::SystemClock clock;
  int told = 0;
  KubernetesNode::Told to;
  to.node = [&](const NodeSample&) { ++told; };
  const auto node = KubernetesNode::Start(config, {"other", "", {}}, clock, to);
  ASSERT_TRUE(node.ok()) << node.error().message();
  EXPECT_EQ((*node)->name(), "mine") << "the configuration's name goes before the environment's";
  const NodeSample sample = (*node)->Read();
  EXPECT_EQ(sample.name, "mine");
  EXPECT_FALSE(sample.heard_at);
  EXPECT_NE(sample.fault, "");
  EXPECT_EQ(told, 1);
}

TEST(HostRoots, AreThoseOfTheConfiguration) {
  Config config;
  config.kubernetes.proc = "/elsewhere/proc";
  config.kubernetes.cgroup = "/elsewhere/cgroup";
  const auto roots = HostRoots(config.kubernetes, {});
  ASSERT_TRUE(roots.ok());
  EXPECT_EQ(roots->proc, "/elsewhere/proc");
  EXPECT_EQ(roots->cgroup, "/elsewhere/cgroup");
  EXPECT_EQ(roots->cgroup_namespace, "/");
  EXPECT_FALSE(HostRoots(config.kubernetes, {"", "no pod's UID", {}}).ok());
}

}  // namespace
}  // namespace ullage::agent
