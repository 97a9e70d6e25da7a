// SPDX-License-Identifier: Apache-2.0
// The real ullage-agent against a real API server, whose kubeconfig ULLAGE_TEST_KUBECONFIG names:
// from pods, VMIs and policies to the terms of the sum. No kubelet and no guest takes part. Skipped
// without it.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"
#include "tests/cluster/api_server.h"
#include "tests/guest/command.h"

namespace ullage::kube {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr Resource kServiceAccounts{"", "v1", "serviceaccounts"};
constexpr Resource kClusterRoles{"rbac.authorization.k8s.io", "v1", "clusterroles"};
constexpr Resource kClusterRoleBindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings"};
constexpr const char* kSpace = "ullage-node-test";
constexpr const char* kNode = "ullage-node-test";
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class NodeAgent : public tests::ApiServerTest {
 protected:
  NodeAgent() : ApiServerTest("node-test", 300) {}

  void SetUp() override {
    ApiServerTest::SetUp();
    if (!client_) return;
    Put({tests::kNamespaces, "", kSpace}, R"({"apiVersion":"v1","kind":"Namespace"})");
    InstallCrds();
    Clear({kNodes, "", kNode});
    Put({kNodes, "", kNode},
        R"({"apiVersion":"v1","kind":"Node","metadata":{"labels":{"ullage-test":"yes"}}})");
    MUST(client_->PatchText(
        {kNodes, "", kNode, "status"},
        {"application/merge-patch+json",
         R"({"status":{"capacity":{"memory":"8Gi"},"allocatable":{"memory":"6Gi"}}})"}));
  }
  void TearDown() override {
    if (client_ == nullptr) return;
    agent_.reset();
    Clear({kReclaimPolicies, "", "ullage-node-test"});
    for (const char* name : {"launcher", "other"}) {
      // No kubelet says that it has ended.
      const auto gone = client_->SendOnce({"DELETE", std::string("/api/v1/namespaces/") + kSpace +
                                                         "/pods/" + name + "?gracePeriodSeconds=0"},
                                          {}, kMaxKubeconfigBytes);
      EXPECT_TRUE(gone.ok());
    }
    Clear({kVmis, kSpace, "vm"});
    Clear({kNodes, "", kNode});
  }

  void InstallCrds() {
    PutOurCrd("reclaimpolicies");
    PutOurCrd("nodereclaims");
    PutKubevirtCrd("virtualmachineinstance", "VirtualMachineInstance");
    for (const Resource& kind : {kVmis, kReclaimPolicies, kNodeReclaims}) AwaitServed(kind);
  }

  // A VMI of 1 GiB with its launcher, which asks for 700 MiB and 512 MiB of reclaimable memory, and
  // another pod, which asks for 300 MiB.
  void MakePods() {
    const std::string kind = R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance",)";
    const std::string labels = R"("metadata":{"labels":{"kubevirt.io/nodeName":")" +
                               std::string(kNode) +
                               R"("},"annotations":{"ullage.io/reclaim":"nonsense"}},)";
    const std::string spec = R"("spec":{"domain":{"memory":{"guest":"1Gi"}}})";
    Put({kVmis, kSpace, "vm"}, kind + labels + spec + "}");
    const auto vmi = client_->Get<k8s::VirtualMachineInstance>({kVmis, kSpace, "vm"});
    MUST(vmi);
    vmi_ = vmi->metadata().uid();
    PutPod("launcher",
           R"({"kubevirt.io":"virt-launcher","kubevirt.io/created-by":")" + vmi_ + "\"}",
           R"({"memory":"700Mi","ullage.io/reclaimable-memory":"512Mi"})",
           R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance","name":"vm","uid":")" +
               vmi_ + "\"}");
    PutPod("other", "{}", R"({"memory":"300Mi"})");
    const auto pod = client_->Get<k8s::Pod>({kPods, kSpace, "launcher"});
    MUST(pod);
    Put({kVmis, kSpace, "vm"}, kind + labels + spec + R"(,"status":{"activePods":{")" +
                                   pod->metadata().uid() + R"(":")" + kNode + R"("}}})");
  }
  void PutPod(const std::string& name, const std::string& labels, const std::string& requests,
              const std::string& owner = "") {
    Put({kPods, kSpace, name},
        R"({"apiVersion":"v1","kind":"Pod","metadata":{"labels":)" + labels +
            R"(,"ownerReferences":[)" + owner + R"(]},"spec":{"nodeName":")" + kNode +
            R"(","automountServiceAccountToken":false,"containers":[{"name":"compute","image":"none",)"
            R"("resources":{"limits":)" +
            requests + R"(,"requests":)" + requests + "}}]}}");
  }

  void StartAgent(const std::string& kubeconfig) {
    tree_.Write("agent.yaml", "mode: publish\nsocket: " + tree_.path("agent.sock") +
                                  "\nstate_dir: " + tree_.path("state") +
                                  "\nlisten: ''\nkubernetes:\n  node: " + kNode +
                                  "\n  kubeconfig: " + kubeconfig + "\n");
    agent_.emplace(std::vector<std::string>{ULLAGE_BIN_DIR "/ullage-agent", "--config",
                                            tree_.path("agent.yaml")},
                   tree_.path("agent.log"));
  }
  std::string Log() const {
    std::ifstream file(tree_.path("agent.log"));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  json Ask(const std::vector<std::string>& what) const {
    std::vector<std::string> command{ULLAGE_BIN_DIR "/ullagectl", "--socket",
                                     tree_.path("agent.sock")};
    command.insert(command.end(), what.begin(), what.end());
    const auto output = tests::RunProgram(command, "", std::chrono::seconds(30));
    return output.status == 0 ? json::parse(output.text, nullptr, false) : json();
  }
  json Capacity() const { return Ask({"capacity", "-o", "json"}); }
  // The first capacity that `is_it` likes; null after a minute.
  json Await(const std::function<bool(const json&)>& is_it) {
    for (int i = 0; i < 600; ++i, Rest()) {
      json capacity = Capacity();
      if (capacity.is_object() && is_it(capacity)) return capacity;
    }
    return {};
  }
  // The first Event of this reason about the VMI of this run; null after a minute.
  json AwaitEvent(const std::string& reason) {
    for (int i = 0; i < 600; ++i, Rest()) {
      const auto text = client_->GetText({kEvents, kSpace});
      if (!text) continue;
      const json all = json::parse(*text);
      for (const json& event : all.at("items")) {
        const bool ours = event.value(json::json_pointer("/involvedObject/uid"), "") == vmi_;
        if (ours && event.value("reason", "") == reason) return event;
      }
    }
    return {};
  }
  // 64-bit numbers are strings in protobuf's JSON; zero may be left out.
  static std::int64_t MiB(const json& capacity, const std::string& term) {
    if (!capacity.is_object() || !capacity.contains(term)) return 0;
    const json& value = capacity[term];
    return (value.is_string() ? std::stoll(value.get<std::string>()) : value.get<std::int64_t>()) /
           kMiB;
  }

  std::string vmi_;
  host::TemporaryTree tree_;
  std::optional<tests::Process> agent_;
};

TEST_F(NodeAgent, CountsWhatPodsAskedForAndFollowsThem) {
  MakePods();
  StartAgent(kubeconfig_);
  json capacity = Await([](const json& c) { return MiB(c, "granted") == 512; });
  ASSERT_FALSE(capacity.is_null()) << Log();
  EXPECT_EQ(MiB(capacity, "promised"), 1212) << capacity;
  EXPECT_EQ(MiB(capacity, "unsold"), 6144 - 700 - 300) << capacity;
  ASSERT_TRUE(capacity.contains("terms")) << capacity;
  EXPECT_EQ(MiB(capacity["terms"], "notOurs") + MiB(capacity["terms"], "not_ours"), 300)
      << capacity;
  EXPECT_GE(MiB(capacity, "published"), 512) << capacity;
  const auto output =
      tests::RunProgram({ULLAGE_BIN_DIR "/ullagectl", "--socket", tree_.path("agent.sock"),
                         "explain", std::string(kSpace) + "/vm"});
  EXPECT_THAT(output.text, HasSubstr("ullage.io/reclaim is 'nonsense'"));

  // A pod that ends gives its memory back to the scheduler.
  MUST(client_->PatchText({kPods, kSpace, "other", "status"},
                          {"application/merge-patch+json", R"({"status":{"phase":"Succeeded"}})"}));
  capacity = Await([](const json& c) { return MiB(c, "unsold") == 6144 - 700; });
  EXPECT_FALSE(capacity.is_null()) << Log();

  // A kubelet rejects the launcher.
  MUST(client_->PatchText(
      {kPods, kSpace, "launcher", "status"},
      {"application/merge-patch+json",
       R"({"status":{"phase":"Failed","reason":"OutOfullage.io/reclaimable-memory","message":)"
       R"("Node didn't have enough resource"}})"}));
  const json told = AwaitEvent("PodRejected");
  ASSERT_FALSE(told.is_null()) << Log();
  EXPECT_EQ(told["involvedObject"]["name"], "vm");
  EXPECT_EQ(told["involvedObject"]["uid"], vmi_);
  EXPECT_THAT(told["message"].get<std::string>(), HasSubstr("Pod launcher was rejected"));
  EXPECT_THAT(told["message"].get<std::string>(), HasSubstr("Node didn't have enough resource"));

  // A policy is in force as soon as it is there.
  Put({kReclaimPolicies, "", "ullage-node-test"},
      R"({"apiVersion":"ullage.io/v1alpha1","kind":"ReclaimPolicy","spec":{"maxMode":"observe",)"
      R"("nodeSelector":{"matchLabels":{"ullage-test":"yes"}},"ratioCap":"200%"}})");
  for (int i = 0;
       i < 600 && Log().find("ReclaimPolicy ullage-node-test is in force") == std::string::npos;
       ++i) {
    Rest();
  }
  EXPECT_THAT(Log(), HasSubstr("ReclaimPolicy ullage-node-test is in force"));
}

TEST_F(NodeAgent, AVerbThatIsNotGrantedIsSaidOnceAndTheRestGoesOn) {
  const std::string rbac = R"({"apiVersion":"rbac.authorization.k8s.io/v1",)";
  Put({kServiceAccounts, kSpace, "agent"}, R"({"apiVersion":"v1","kind":"ServiceAccount"})");
  Put({kClusterRoles, "", "ullage-node-test"},
      rbac +
          R"("kind":"ClusterRole","rules":[{"apiGroups":["","kubevirt.io"],)"
          R"("resources":["nodes","pods","virtualmachineinstances"],"verbs":["list","watch"]}]})");
  Put({kClusterRoleBindings, "", "ullage-node-test"},
      rbac +
          R"("kind":"ClusterRoleBinding","roleRef":{"apiGroup":"rbac.authorization.k8s.io",)"
          R"("kind":"ClusterRole","name":"ullage-node-test"},"subjects":[{"kind":"ServiceAccount",)"
          R"("name":"agent","namespace":")" +
          std::string(kSpace) + R"("}]})");
  const auto token = client_->CreateText(
      {kServiceAccounts, kSpace, "agent", "token"},
      R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}})");
  MUST(token);
  const std::string ca =
      access_.ca.text.empty() ? *host::ReadFile(access_.ca.file, 1 << 20) : access_.ca.text;
  tree_.Write("ca.crt", ca);
  tree_.Write(
      "kubeconfig",
      json{{"current-context", "c"},
           {"clusters",
            {{{"name", "k"},
              {"cluster",
               {{"server", access_.server}, {"certificate-authority", tree_.path("ca.crt")}}}}}},
           {"users",
            {{{"name", "u"}, {"user", {{"token", json::parse(*token)["status"]["token"]}}}}}},
           {"contexts", {{{"name", "c"}, {"context", {{"cluster", "k"}, {"user", "u"}}}}}}}
          .dump());
  MakePods();
  StartAgent(tree_.path("kubeconfig"));
  const json capacity = Await([](const json& c) { return MiB(c, "granted") == 512; });
  ASSERT_FALSE(capacity.is_null()) << Log();
  EXPECT_TRUE(capacity.contains("terms")) << "what is not granted is no reason to know nothing";
  const std::string log = Log();
  const std::size_t first = log.find("reclaimpolicies.ullage.io is forbidden");
  EXPECT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find("reclaimpolicies.ullage.io is forbidden", first + 1), std::string::npos)
      << log;
}

}  // namespace
}  // namespace ullage::kube
