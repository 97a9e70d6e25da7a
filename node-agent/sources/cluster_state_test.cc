// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster_state.h"

#include <gmock/gmock.h>

#include "node-agent/kube/fake_api_server.h"
#include "node-agent/sources/cluster.h"

namespace ullage::sources {
namespace {

using testing::HasSubstr;

template <typename T>
kube::Item<T> Read(const std::string& json) {
  auto object = kube::ReadJson<T>(json);
  EXPECT_TRUE(object.ok()) << object.error().message();
  return {object.ok() ? *object : T{}, ""};
}

kube::Item<k8s::Node> Node(const std::string& labels = "{}") {
  return Read<k8s::Node>(R"({"metadata":{"name":"n1","uid":"nu","labels":)" + labels +
                         R"(},"status":{"allocatable":{"memory":"4Gi"}}})");
}
kube::Item<k8s::Pod> Pod(const std::string& uid, const std::string& vmi = "",
                         const std::string& name_space = "ns",
                         const std::string& phase = "Running") {
  const std::string labels =
      vmi.empty() ? "{}"
                  : R"({"kubevirt.io":"virt-launcher","kubevirt.io/created-by":")" + vmi + "\"}";
  return Read<k8s::Pod>(R"({"metadata":{"name":"p","uid":")" + uid + R"(","namespace":")" +
                        name_space + R"(","labels":)" + labels +
                        R"(},"spec":{"containers":[{"resources":{"requests":{"memory":"1Gi"}}}]},)"
                        R"("status":{"phase":")" +
                        phase + "\"}}");
}
kube::Item<k8s::VirtualMachineInstance> Vmi(const std::string& uid, const std::string& pods) {
  return Read<k8s::VirtualMachineInstance>(
      R"({"metadata":{"name":"v","uid":")" + uid +
      R"(","namespace":"ns"},"spec":{"domain":{"memory":{"guest":"1Gi"}}},"status":{"activePods":)" +
      pods + "}}");
}

class ClusterStateTest : public testing::Test {
 protected:
  void ListAll() {
    state_.node().OnAll({Node()});
    state_.pods().OnAll({Pod("a"), Pod("b", "v1")});
    state_.vmis().OnAll({Vmi("v1", R"({"b":"n1"})")});
    state_.policies().OnAll({});
  }
  ClusterState state_{"n1", {}};
};

TEST_F(ClusterStateTest, IsUnknownUntilAllWereListed) {
  EXPECT_FALSE(state_.listed());
  EXPECT_THAT(state_.Read().fault, HasSubstr("pods: not listed yet"));
  ListAll();
  EXPECT_TRUE(state_.listed());
  const NodeSample node = state_.Read();
  EXPECT_EQ(node.fault, "");
  EXPECT_EQ(node.name, "n1");
  EXPECT_EQ(node.uid, "nu");
  EXPECT_EQ(node.allocatable, Bytes::GiB(4));
  ASSERT_EQ(node.pods.size(), 2u);
  EXPECT_EQ(node.pods[0].uid, "a");
  EXPECT_EQ(node.pods[1].vmi, VmId{"v1"});
  ASSERT_EQ(node.vmis.size(), 1u);
  EXPECT_EQ(node.vmis[0].launcher, "b");
}

TEST_F(ClusterStateTest, PutsNothingTogetherAnewThatDidNotChange) {
  ListAll();
  const NodeSample first = state_.Read();
  EXPECT_TRUE(state_.Read().pods.Shares(first.pods));
  EXPECT_TRUE(state_.Read().vmis.Shares(first.vmis));
  state_.pods().OnChange(kube::Change::kAdded, Pod("c"));
  EXPECT_FALSE(state_.Read().pods.Shares(first.pods));
  EXPECT_EQ(first.pods.size(), 2u) << "who took a list keeps it";
}

TEST_F(ClusterStateTest, FollowsChanges) {
  ListAll();
  state_.pods().OnChange(kube::Change::kAdded, Pod("c"));
  state_.pods().OnChange(kube::Change::kModified, Pod("a", "", "ns", "Succeeded"));
  EXPECT_EQ(state_.Read().pods.size(), 2u) << "one came, one ended";
  state_.pods().OnChange(kube::Change::kDeleted, Pod("b", "v1"));
  const NodeSample node = state_.Read();
  ASSERT_EQ(node.pods.size(), 1u);
  EXPECT_EQ(node.pods[0].uid, "c");
  EXPECT_EQ(node.vmis[0].launcher, "") << "its pod is gone";
  state_.node().OnChange(kube::Change::kDeleted, Node());
  EXPECT_THAT(state_.Read().fault, HasSubstr("none of this name"));
  EXPECT_FALSE(state_.Read().allocatable);
}

TEST_F(ClusterStateTest, WhatWasKnownStaysWhileTheServerIsAway) {
  ListAll();
  state_.pods().OnFault(Error(Code::kUnavailable, "refused, 1st"));
  state_.pods().OnFault(Error(Code::kUnavailable, "refused, 2nd"));
  NodeSample node = state_.Read();
  EXPECT_EQ(node.pods.size(), 2u);
  EXPECT_EQ(node.fault, "pods: refused, 1st") << "one fault, said in one way";
  state_.pods().OnFine();
  EXPECT_EQ(state_.Read().fault, "");
}

TEST_F(ClusterStateTest, KindsThatThisClusterDoesNotHaveAreNoFault) {
  state_.node().OnAll({Node()});
  state_.pods().OnAll({Pod("b", "v1")});
  state_.vmis().OnFault(Error(Code::kNotFound, "404"));
  state_.policies().OnFault(Error(Code::kNotFound, "404"));
  EXPECT_TRUE(state_.listed());
  const NodeSample node = state_.Read();
  EXPECT_EQ(node.fault, "");
  EXPECT_EQ(node.policy_fault, "");
  EXPECT_EQ(node.pods[0].vmi, VmId{"v1"}) << "a launcher is one without its VMI, too";
}

TEST_F(ClusterStateTest, WhatIsDeniedIsSaidAndTheRestGoesOn) {
  state_.node().OnAll({Node()});
  state_.pods().OnAll({Pod("a")});
  state_.vmis().OnAll({});
  state_.policies().OnFault(Error(Code::kDenied, "403 Forbidden"));
  EXPECT_TRUE(state_.listed());
  const NodeSample node = state_.Read();
  EXPECT_EQ(node.fault, "");
  EXPECT_THAT(node.policy_fault, HasSubstr("403 Forbidden"));
  state_.vmis().OnFault(Error(Code::kDenied, "403 Forbidden"));
  EXPECT_EQ(state_.Read().fault, "VMIs: 403 Forbidden");
  state_.pods().OnFault(Error(Code::kNotFound, "404"));
  EXPECT_THAT(state_.Read().fault, HasSubstr("pods: 404")) << "every cluster has pods";
}

TEST_F(ClusterStateTest, TwoPodsOfOneVmiAreAFaultAndNoGuess) {
  ListAll();
  state_.pods().OnChange(kube::Change::kAdded, Pod("c", "v1"));
  state_.vmis().OnChange(kube::Change::kModified, Vmi("v1", R"({"b":"n1","c":"n1"})"));
  NodeSample node = state_.Read();
  EXPECT_EQ(node.vmis[0].launcher, "");
  EXPECT_THAT(node.vmis[0].fault, HasSubstr("2 pods here"));
  state_.pods().OnChange(kube::Change::kModified, Pod("b", "v1", "ns", "Succeeded"));
  node = state_.Read();
  EXPECT_EQ(node.vmis[0].launcher, "c") << "after a migration the older one has ended";
  EXPECT_EQ(node.vmis[0].fault, "");
}

TEST_F(ClusterStateTest, APodIsNotTheLauncherOfAnotherNamespacesVmi) {
  ListAll();
  state_.pods().OnChange(kube::Change::kAdded, Pod("c", "v1", "evil"));
  const NodeSample node = state_.Read();
  ASSERT_EQ(node.pods.size(), 3u);
  EXPECT_FALSE(node.pods[2].vmi);
  EXPECT_THAT(node.pods[2].fault, HasSubstr("another namespace"));
  EXPECT_EQ(node.vmis[0].launcher, "b");
}

TEST_F(ClusterStateTest, ThePolicyFollowsPoliciesAndLabels) {
  ListAll();
  EXPECT_EQ(state_.Read().policy, "");
  auto policy = Read<k8s::ReclaimPolicy>(
      R"({"metadata":{"name":"p","uid":"pu"},"spec":{"maxMode":"publish","growth":"30%",)"
      R"("nodeSelector":{"matchLabels":{"a":"b"}}}})");
  state_.policies().OnChange(kube::Change::kAdded, policy);
  EXPECT_EQ(state_.Read().policy, "");
  state_.node().OnChange(kube::Change::kModified, Node(R"({"a":"b"})"));
  const NodeSample node = state_.Read();
  EXPECT_EQ(node.policy, "p");
  EXPECT_EQ(node.max_mode, Mode::kPublish);
  EXPECT_EQ(node.params->growth, Permyriad{3000});
  state_.policies().OnChange(kube::Change::kDeleted, policy);
  EXPECT_FALSE(state_.Read().params);
}

// The whole of it over HTTP is tried against a real API server (tests/cluster).
TEST(ClusterSource, IsUnknownWhileNobodyAnswers) {
  const host::SystemClock clock;
  kube::RealPause pause;
  class Nobody final : public kube::Transport {
    Result<kube::HttpHead> Exchange(const kube::HttpRequest&, const kube::HttpLimits&,
                                    const std::stop_token&, const kube::Receive&) override {
      return Error(Code::kUnavailable, "nobody");
    }
  };
  const kube::Client client(std::make_shared<Nobody>(), {pause, clock, kube::SystemRandom()});
  const auto source = ClusterSource::Start(client, {"n1", {}});
  ASSERT_TRUE(source.ok());
  const NodeSample node = (*source)->Read();
  EXPECT_FALSE(node.heard_at);
  EXPECT_NE(node.fault, "");
}

}  // namespace
}  // namespace ullage::sources
