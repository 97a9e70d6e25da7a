// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/cleanup.h"

#include <gmock/gmock.h>

#include "node-agent/kube/fake_api_server.h"

namespace ullage::clients {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kNone = R"({"items": []})";
constexpr const char* kTwoNodes = R"({"items": [
  {"metadata": {"name": "n1"}, "status": {
    "capacity": {"cpu": "2", "ullage.io/reclaimable-memory": "1Gi"},
    "allocatable": {"ullage.io/reclaimable-memory": "1Gi"}}},
  {"metadata": {"name": "n2"}, "status": {"capacity": {"cpu": "2"}}}]})";

std::string PodOn(const std::string& node, const std::string& resources) {
  return R"({"metadata": {"namespace": "default", "name": "virt-launcher-a"}, "spec": {"nodeName": ")" +
         node + R"(", "containers": [{"resources": )" + resources + "}]}}";
}
std::string Pods(const std::string& one) { return R"({"items": [)" + one + "]}"; }

class CleanUpTest : public testing::Test {
 protected:
  static kube::ClientOptions Options() {
    kube::ClientOptions options;
    options.tries = 1;
    return options;
  }
  Result<Leftovers> Run(const CleanupOptions& options = {}) {
    return CleanUp(client_, options, [this](const std::string& line) { said_.push_back(line); });
  }
  std::vector<std::string> Targets() const {
    std::vector<std::string> targets;
    for (const kube::HttpRequest& request : server_->requests) {
      targets.push_back(request.method + " " + request.target.substr(0, request.target.find('?')));
    }
    return targets;
  }

  std::shared_ptr<kube::FakeTransport> server_ = std::make_shared<kube::FakeTransport>();
  kube::FakeTime time_;
  kube::Client client_{server_, {time_, time_, kube::AlwaysHundred()}, Options()};
  std::vector<std::string> said_;
};

TEST_F(CleanUpTest, TakesTheKeyFromNodesThatHaveItAndDeletesReclaims) {
  server_->Say(200, kTwoNodes);
  server_->Say(200, kNone);
  server_->Say(200, "{}");
  server_->Say(200, R"({"items": [{"metadata": {"name": "n1", "uid": "0a-1"}}]})");
  server_->Say(200, "{}");
  const auto left = Run();
  ASSERT_TRUE(left.ok()) << left.error().message();
  EXPECT_TRUE(left->none());
  EXPECT_THAT(Targets(),
              ElementsAre("GET /api/v1/nodes", "GET /api/v1/pods", "PATCH /api/v1/nodes/n1/status",
                          "GET /apis/ullage.io/v1alpha1/nodereclaims",
                          "DELETE /apis/ullage.io/v1alpha1/nodereclaims/n1"));
  EXPECT_EQ(server_->requests[2].body,
            R"([{"op":"remove","path":"/status/capacity/ullage.io~1reclaimable-memory"},)"
            R"({"op":"remove","path":"/status/allocatable/ullage.io~1reclaimable-memory"}])");
}

TEST_F(CleanUpTest, ANodeThatIsHeldKeepsWhatIsHeldAndSaysByWhom) {
  const std::string pods =
      Pods(PodOn("n1", R"({"limits": {"ullage.io/reclaimable-memory": "512Mi"}})"));
  server_->Say(200, kTwoNodes);
  server_->Say(200, pods);
  server_->Say(200, "{}");
  server_->Say(200, pods);
  server_->Say(404, "{}");  // no such CRD any more
  const auto left = Run();
  ASSERT_TRUE(left.ok()) << left.error().message();
  EXPECT_EQ(left->held, 1);
  EXPECT_EQ(left->failed, 0);
  EXPECT_THAT(server_->requests[2].body, HasSubstr(R"("value":"536870912")"));
  EXPECT_THAT(said_[0],
              AllOf(HasSubstr("n1"), HasSubstr("default/virt-launcher-a"), HasSubstr("512 MiB")));
}

TEST_F(CleanUpTest, WhatWasBoundMeanwhileCounts) {
  const std::string half = R"({"limits": {"ullage.io/reclaimable-memory": "512Mi"}})";
  server_->Say(200, kTwoNodes);
  server_->Say(200, Pods(PodOn("n1", half)));
  server_->Say(200, "{}");
  server_->Say(200, Pods(PodOn("n1", half) + "," + PodOn("n1", half)));
  server_->Say(200, "{}");
  server_->Say(200, kNone);
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(server_->requests[4].body, HasSubstr(R"("value":"1073741824")"));
}

TEST_F(CleanUpTest, AFigureThatMakesNoSenseHoldsAll) {
  server_->Say(200, kTwoNodes);
  server_->Say(200, Pods(PodOn("n1", R"({"limits": {"ullage.io/reclaimable-memory": "much"}})")));
  server_->Say(200, kNone);
  const auto left = Run();
  ASSERT_TRUE(left.ok());
  EXPECT_EQ(left->held, 1);
  EXPECT_EQ(server_->requests.size(), 3U);  // nothing was lowered
}

TEST_F(CleanUpTest, PodsWithoutTheResourceOrWithoutANodeHoldNothing) {
  server_->Say(200, kTwoNodes);
  server_->Say(200, Pods(PodOn("n1", R"({"requests": {"memory": "1Gi"}})") + "," +
                         PodOn("", R"({"limits": {"ullage.io/reclaimable-memory": "1"}})")));
  server_->Say(200, "{}");
  server_->Say(200, kNone);
  const auto left = Run();
  ASSERT_TRUE(left.ok());
  EXPECT_TRUE(left->none());
}

TEST_F(CleanUpTest, ANodeThatCannotBePatchedDoesNotKeepTheRest) {
  server_->Say(200, kTwoNodes);
  server_->Say(200, kNone);
  server_->Say(403, "{}");
  server_->Say(200, R"({"items": [{"metadata": {"name": "n1"}}, {"metadata": {"name": "n2"}}]})");
  server_->Say(404, "{}");  // somebody was faster
  server_->Say(403, "{}");
  const auto left = Run();
  ASSERT_TRUE(left.ok());
  EXPECT_EQ(left->failed, 2);
  EXPECT_EQ(left->held, 0);
}

TEST_F(CleanUpTest, OnlyLooksWhereItIsToldSo) {
  CleanupOptions options;
  options.only_look = true;
  options.after_pods = "a=b";
  server_->Say(200, kTwoNodes);
  server_->Say(200, kNone);
  EXPECT_TRUE(Run(options)->none());
  server_->Say(200, kTwoNodes);
  server_->Say(200, Pods(PodOn("n1", R"({"limits": {"ullage.io/reclaimable-memory": "512Mi"}})")));
  EXPECT_EQ(Run(options)->held, 1);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("default/virt-launcher-a")));
  EXPECT_THAT(Targets(), ElementsAre("GET /api/v1/nodes", "GET /api/v1/pods", "GET /api/v1/nodes",
                                     "GET /api/v1/pods"));
}

TEST_F(CleanUpTest, WaitsForTheAgentsToEnd) {
  const std::string agent = Pods(PodOn("n1", "{}"));
  server_->Say(200, agent);
  server_->Say(200, agent);
  server_->Say(200, kNone);
  server_->Say(200, kNone);
  server_->Say(200, kNone);
  server_->Say(200, kNone);
  const auto left = Run({false, "ullage", "a=b", milliseconds(60'000)});
  ASSERT_TRUE(left.ok()) << left.error().message();
  EXPECT_THAT(server_->requests[0].target,
              AllOf(HasSubstr("/namespaces/ullage/pods"), HasSubstr("labelSelector=a%3Db")));
  EXPECT_EQ(time_.rests.size(), 2U);
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(CleanUpTest, TouchesNothingWhileAnAgentRuns) {
  for (int i = 0; i < 10; ++i) server_->Say(200, Pods(PodOn("n1", "{}")));
  const auto left = Run({false, "ullage", "a=b", milliseconds(5'000)});
  ASSERT_FALSE(left.ok());
  EXPECT_EQ(left.error().code(), Code::kDeadline);
  EXPECT_THAT(left.error().message(), HasSubstr("default/virt-launcher-a still runs"));
  EXPECT_EQ(server_->requests.size(), 6U);
}

TEST_F(CleanUpTest, AnApiServerThatRefusesIsAnError) {
  server_->Say(403, "{}");
  EXPECT_EQ(Run().error().code(), Code::kDenied);
  server_->Say(200, kTwoNodes);
  server_->Say(403, "{}");
  EXPECT_EQ(Run().error().code(), Code::kDenied);
}

}  // namespace
}  // namespace ullage::clients
