// SPDX-License-Identifier: Apache-2.0
// What the agent writes, against a real API server (ULLAGE_TEST_KUBECONFIG, as kube_test.cc).
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "node-agent/kube/quantity.h"
#include "node-agent/publishers/cluster_publisher.h"
#include "node-agent/publishers/report_fixture.h"
#include "tests/cluster/api_server.h"

namespace ullage::publishers {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kSpace = "ullage-publisher-test";
constexpr const char* kNode = "ullage-publisher-test-node";
constexpr milliseconds kPatience{60000};

class Publishing : public tests::ApiServerTest {
 protected:
  Publishing() : ApiServerTest("publisher-test", 300) {}

  void SetUp() override {
    ApiServerTest::SetUp();
    if (!client_) return;
    const auto made = client_->CreateText(
        {tests::kNamespaces}, std::string(R"({"metadata":{"name":")") + kSpace + R"("}})");
    if (!made) {
      ASSERT_EQ(made.error().code(), Code::kExists) << made.error().message();
    }
    MakeNode();
    MakeCrd();
  }
  void TearDown() override {
    if (!client_) return;
    (void)client_->Delete({kNodeReclaims, "", kNode});
    (void)client_->Delete({kube::kNodes, "", kNode});
  }

  void MakeNode() {
    (void)client_->Delete({kube::kNodes, "", kNode});
    MUST(client_->CreateText({kube::kNodes},
                             std::string(R"({"metadata":{"name":")") + kNode + R"("}})"));
    // A node without a kubelet has no such maps yet.
    MUST(client_->PatchText({kube::kNodes, "", kNode, "status"},
                            {"application/merge-patch+json", R"({"status":{"capacity":{"cpu":"1"},)"
                                                             R"("allocatable":{"cpu":"1"}}})"}));
    uid_ = Node().metadata().uid();
  }
  // Here the object has to be taken and given back.
  void MakeCrd() {
    PutOurCrd("nodereclaims");
    for (int i = 0; i < 600; ++i, Rest()) {
      if (client_->GetText({kNodeReclaims})) return;
    }
    FAIL() << "the API server does not serve NodeReclaims";
  }

  k8s::Node Node() const {
    const auto node = client_->Get<k8s::Node>({kube::kNodes, "", kNode});
    EXPECT_TRUE(node.ok()) << node.error().message();
    return node ? *node : k8s::Node();
  }
  static OnNode In(const google::protobuf::Map<std::string, google::protobuf::Value>& map) {
    const auto at = map.find(std::string(kReclaimableMemory));
    if (at == map.end()) return std::nullopt;
    const auto value = kube::ParseBytes(at->second);
    return value ? OnNode(*value) : std::nullopt;
  }

  // The next tick, as the sources would see the node.
  void Tick(Bytes granted, Bytes additional) {
    Report report = SampleReport(++tick_);
    report.snapshot.at = clock_.Now();
    report.snapshot.node = NodeSample{};
    NodeSample& node = *report.snapshot.node;
    node.name = kNode;
    node.uid = uid_;
    node.heard_at = clock_.Now().boot;
    node.published = In(Node().status().capacity());
    VmiSample& vmi = node.vmis.Edit().emplace_back();
    vmi.spec.id.value = "3f6e5b0e-0000-4000-8000-000000000001";
    vmi.spec.bad_setting = "ullage.io/reclaim: 'sometimes' is none of hints, hybrid, off";
    vmi.name_space = kSpace;
    vmi.name = "web";
    report.snapshot.vms[0].spec = vmi.spec;
    report.plan.capacity.granted = granted;
    report.plan.capacity.additional = additional;
    report.plan.capacity.published = granted + additional;
    bulletin_.Post(Shared(report));
  }
  // Ticks until the Node's maps both hold it.
  bool Reaches(const OnNode& wanted, Bytes granted, Bytes additional) {
    const BootTime end = clock_.Now().boot + kPatience;
    while (clock_.Now().boot < end) {
      Tick(granted, additional);
      Rest();
      const k8s::Node node = Node();
      if (In(node.status().capacity()) == wanted && In(node.status().allocatable()) == wanted) {
        return true;
      }
    }
    return false;
  }
  void Rest() { pause_.For(milliseconds(50), {}); }

  Bulletin bulletin_;
  std::string uid_;
  std::uint64_t tick_ = 0;
};

std::uint64_t Written(const ClusterPublisher& publisher) {
  std::uint64_t all = 0;
  for (const auto& count : publisher.Counts()) all += count.writes.written;
  return all;
}

TEST_F(Publishing, ShowsUpFollowsAndGoesAndIsSilentInBetween) {
  ResourceRules rules;
  rules.increase_every = milliseconds(0);
  {
    const ClusterPublisher publisher({.node = kNode, .resource = rules}, *client_, bulletin_);
    EXPECT_TRUE(Reaches(Bytes::GiB(1), Bytes(), Bytes::GiB(1)));
    EXPECT_TRUE(Reaches(Bytes::GiB(3), Bytes::GiB(1), Bytes::GiB(2)));
    EXPECT_TRUE(Reaches(Bytes::GiB(1), Bytes::GiB(1), Bytes()));
    // A bind that raced that decrease.
    EXPECT_TRUE(Reaches(Bytes::GiB(2), Bytes::GiB(2), Bytes()));

    // Until the writers have had their say; then nothing changes any more.
    for (int i = 0; i < 1000 && publisher.Counts().at(2).writes.written == 0; ++i) {
      Tick(Bytes::GiB(2), Bytes());
      Rest();
    }
    const auto events = client_->GetText({kube::kEvents, kSpace});
    MUST(events);
    EXPECT_THAT(*events, HasSubstr("'sometimes'"));
    const auto reclaim = client_->Get<k8s::NodeReclaim>({kNodeReclaims, "", kNode});
    MUST(reclaim);
    EXPECT_EQ(reclaim->metadata().owner_references(0).uid(), uid_);
    EXPECT_EQ(reclaim->status().mode(), "publish");
    EXPECT_EQ(reclaim->status().conditions_size(), 4);
    const std::string version = reclaim->metadata().resource_version();
    const std::uint64_t written = Written(publisher);
    for (int i = 0; i < 100; ++i) {
      Tick(Bytes::GiB(2), Bytes());
      Rest();
    }
    EXPECT_EQ(Written(publisher), written);
    const auto later = client_->Get<k8s::NodeReclaim>({kNodeReclaims, "", kNode});
    MUST(later);
    EXPECT_EQ(later->metadata().resource_version(), version);
  }
  EXPECT_EQ(In(Node().status().capacity()), std::nullopt);
  EXPECT_EQ(In(Node().status().allocatable()), std::nullopt);
}

TEST_F(Publishing, TheKeyIsRemovedWhetherOrNotItIsThere) {
  const kube::ObjectRef status{kube::kNodes, "", kNode, "status"};
  MUST(client_->PatchText(status, kube::Patch::Json(PatchOf(std::nullopt))));
  MUST(client_->PatchText(status, kube::Patch::Json(PatchOf(Bytes::MiB(64)))));
  EXPECT_EQ(In(Node().status().capacity()), Bytes::MiB(64));
  MUST(client_->PatchText(status, kube::Patch::Json(PatchOf(std::nullopt))));
  EXPECT_EQ(In(Node().status().capacity()), std::nullopt);
  EXPECT_EQ(Node().status().capacity().count("cpu"), 1u);
}

}  // namespace
}  // namespace ullage::publishers
