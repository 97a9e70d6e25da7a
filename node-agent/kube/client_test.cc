// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/client.h"

#include <gmock/gmock.h>

#include "node-agent/kube/discovery.h"
#include "node-agent/kube/fake_api_server.h"

namespace ullage::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kForbidden = R"({"kind": "Status", "status": "Failure", "code": 403,
  "reason": "Forbidden", "message": "nodes \"n1\" is forbidden: User \"a\" cannot patch"})";

class ClientTest : public testing::Test {
 protected:
  static ClientOptions Options() {
    ClientOptions options;
    options.backoff = kOneRest;
    options.object_limit = 1000;
    return options;
  }
  std::shared_ptr<FakeTransport> server_ = std::make_shared<FakeTransport>();
  FakeTime time_;
  Client client_{server_, {time_, time_, AlwaysHundred()}, Options()};
};

TEST(FullJitter, IsAnythingUpToACeilingThatDoublesAndIsCapped) {
  constexpr BackoffRange kRange{milliseconds(500), milliseconds(30000)};
  EXPECT_EQ(RestCeiling(0, kRange), milliseconds(500));
  EXPECT_EQ(RestCeiling(1, kRange), milliseconds(1000));
  EXPECT_EQ(RestCeiling(5, kRange), milliseconds(16000));
  EXPECT_EQ(RestCeiling(6, kRange), milliseconds(30000));
  EXPECT_EQ(RestCeiling(4000000000U, kRange), milliseconds(30000));
  EXPECT_EQ(FullJitter(0, kRange, 0), milliseconds(0));
  EXPECT_EQ(FullJitter(0, kRange, 500), milliseconds(500));
  EXPECT_EQ(FullJitter(0, kRange, 501), milliseconds(0));
  EXPECT_EQ(FullJitter(9, kRange, 30000), milliseconds(30000));
  const Random random = SystemRandom();
  EXPECT_NE(random(), random());
}

TEST_F(ClientTest, GetsAnObject) {
  server_->Say(200, R"({"metadata": {"name": "n1", "resourceVersion": "5"}, "other": [1]})");
  const auto node = client_.Get<k8s::Node>({kNodes, "", "n1"});
  ASSERT_TRUE(node.ok()) << node.error().message();
  EXPECT_EQ(node->metadata().resource_version(), "5");
  EXPECT_EQ(server_->requests[0].method, "GET");
  EXPECT_EQ(server_->requests[0].target, "/api/v1/nodes/n1");
  EXPECT_EQ(server_->asked_limits[0].deadline, milliseconds(10000));
}

TEST_F(ClientTest, AnErrorCitesTheServer) {
  server_->Say(403, kForbidden);
  const auto patched = client_.PatchText({kNodes, "", "n1", "status"}, Patch::Json(JsonPatch()));
  ASSERT_FALSE(patched.ok());
  EXPECT_EQ(patched.error().code(), Code::kDenied);
  EXPECT_EQ(patched.error().message(),
            "PATCH /api/v1/nodes/n1/status: 403 Forbidden: nodes \"n1\" is forbidden: User \"a\" "
            "cannot patch");
}

TEST_F(ClientTest, AnErrorThatIsNoStatusIsShownAsText) {
  server_->Say(500, "<html>\n\x1b[31m</html>");
  const auto got = client_.GetText({kNodes, "", "n1"});
  EXPECT_EQ(got.error().code(), Code::kInternal);
  EXPECT_EQ(got.error().message(), R"(GET /api/v1/nodes/n1: 500: <html>\x0a\x1b[31m</html>)");
  server_->Say(502, "");
  server_->Say(404, std::string(3000, 'x'));
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}).error().message(), "GET /api/v1/nodes/n1: 502");
  EXPECT_LT(client_.GetText({kNodes, "", "n1"}).error().message().size(), 1100U);
}

TEST(CodeOf, EachStatus) {
  const std::pair<int, Code> cases[] = {
      {400, Code::kInvalid},     {401, Code::kDenied},      {403, Code::kDenied},
      {404, Code::kNotFound},    {405, Code::kInvalid},     {408, Code::kDeadline},
      {409, Code::kExists},      {410, Code::kGone},        {413, Code::kExhausted},
      {422, Code::kInvalid},     {429, Code::kUnavailable}, {500, Code::kInternal},
      {502, Code::kUnavailable}, {503, Code::kUnavailable}, {504, Code::kDeadline},
      {507, Code::kExhausted},   {302, Code::kInternal},    {0, Code::kInternal},
  };
  for (const auto& [status, code] : cases) EXPECT_EQ(CodeOf(status), code) << status;
}

TEST_F(ClientTest, WaitsAsLongAsTheServerAsks) {
  server_->Say(429, "", seconds(2));
  server_->Say(503, "", seconds(1));
  server_->Say(503, "");
  server_->Say(200, "{}");
  EXPECT_TRUE(client_.PatchText({kNodes, "", "n1"}, Patch::Json(JsonPatch())).ok());
  EXPECT_THAT(time_.rests, ElementsAre(milliseconds(2100), milliseconds(1100), milliseconds(100)));
  EXPECT_EQ(server_->asked_limits[3].deadline, milliseconds(10000 - 3300));
}

TEST_F(ClientTest, GivesUpAtTheDeadlineAndAfterSomeTries) {
  server_->Say(503, "", seconds(20));
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}).error().code(), Code::kUnavailable);
  EXPECT_THAT(time_.rests, IsEmpty());
  for (int i = 0; i < 9; ++i) server_->Say(503, "");
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}).error().code(), Code::kUnavailable);
  EXPECT_EQ(server_->requests.size(), 1U + 4U);
}

TEST_F(ClientTest, OnlyReadsAreRepeatedWhenTheConnectionBreaks) {
  server_->Break(Code::kUnavailable);
  server_->Say(200, "{}");
  EXPECT_TRUE(client_.GetText({kNodes, "", "n1"}).ok());
  server_->Break(Code::kUnavailable);
  const auto created = client_.CreateText({kPods, "a"}, "{}");
  EXPECT_EQ(created.error().code(), Code::kUnavailable);
  EXPECT_EQ(created.error().message(), "POST /api/v1/namespaces/a/pods: broken");
  server_->Break(Code::kDeadline);
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}).error().code(), Code::kDeadline);
  server_->Break(Code::kDenied);
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}).error().code(), Code::kDenied);
  EXPECT_EQ(server_->requests.size(), 5U);
}

TEST_F(ClientTest, AStopEndsTheRest) {
  std::stop_source stop;
  FakeTransport::Reply reply;
  reply.error = std::make_shared<Error>(Code::kUnavailable, "broken");
  reply.at_end = [&] { stop.request_stop(); };
  server_->replies.push_back(reply);
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"}, stop.get_token()).error().code(),
            Code::kUnavailable);
  EXPECT_EQ(server_->requests.size(), 1U);
}

TEST_F(ClientTest, AnAnswerIsBounded) {
  server_->replies.push_back({200, {std::string(600, 'a'), std::string(400, 'a')}});
  EXPECT_EQ(client_.GetText({kNodes, "", "n1"})->size(), 1000U);
  server_->replies.push_back({200, {std::string(600, 'a'), std::string(401, 'a')}});
  const auto got = client_.GetText({kNodes, "", "n1"});
  EXPECT_EQ(got.error().code(), Code::kExhausted);
  EXPECT_THAT(got.error().message(), HasSubstr("more than 1000 bytes"));
}

TEST_F(ClientTest, ListsPageByPage) {
  server_->Say(200, R"({"metadata": {"resourceVersion": "5", "continue": "c/1"},
                        "items": [{"metadata": {"name": "a"}}]})");
  server_->Say(200, R"({"metadata": {"resourceVersion": "5"},
                        "items": [{"metadata": {"name": "b"}}]})");
  const auto pods = client_.List<k8s::PodList>({kPods}, {"a=b", "spec.nodeName=n1"});
  ASSERT_TRUE(pods.ok()) << pods.error().message();
  ASSERT_EQ(pods->items_size(), 2);
  EXPECT_EQ(pods->items(1).metadata().name(), "b");
  EXPECT_EQ(pods->metadata().resource_version(), "5");
  EXPECT_EQ(server_->requests[0].target,
            "/api/v1/pods?limit=500&labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn1");
  EXPECT_THAT(server_->requests[1].target, HasSubstr("&continue=c%2F1"));
}

TEST_F(ClientTest, AListWithoutAnEndIsAnError) {
  for (int i = 0; i <= kMaxPages; ++i) {
    server_->Say(200, R"({"metadata": {"resourceVersion": "5", "continue": "c"}})");
  }
  EXPECT_EQ(client_.List<k8s::PodList>({kPods}).error().code(), Code::kExhausted);
  server_->replies.clear();
  server_->Say(410, R"({"reason": "Expired", "code": 410})");
  EXPECT_EQ(client_.List<k8s::PodList>({kPods}).error().code(), Code::kGone);
}

TEST_F(ClientTest, PatchesAndApplies) {
  server_->Say(200, "{}");
  server_->Say(200, "{}");
  server_->Say(409, R"({"reason": "Conflict", "message": "conflict with \"kubectl\""})");
  EXPECT_TRUE(client_
                  .PatchAs<k8s::Node>({kNodes, "", "n1", "status"},
                                      Patch::Json(JsonPatch().Add({"status", "a/b"}, "1")))
                  .ok());
  EXPECT_EQ(server_->requests[0].content_type, "application/json-patch+json");
  EXPECT_EQ(server_->requests[0].body, R"([{"op":"add","path":"/status/a~1b","value":"1"}])");
  k8s::Lease lease;
  lease.set_kind("Lease");
  EXPECT_TRUE(client_.Apply({kLeases, "a", "b"}, lease, "ullage agent", true).ok());
  EXPECT_EQ(server_->requests[1].content_type, "application/apply-patch+yaml");
  EXPECT_EQ(server_->requests[1].target,
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/b?fieldManager=ullage%20agent&force="
            "true");
  EXPECT_EQ(server_->requests[1].body, R"({"kind":"Lease"})");
  const auto refused = client_.Apply({kLeases, "a", "b"}, lease, "ullage", false);
  EXPECT_EQ(refused.error().code(), Code::kExists);
  EXPECT_THAT(server_->requests[2].target, testing::EndsWith("?fieldManager=ullage"));
}

TEST_F(ClientTest, DeletesTheOneThatIsMeant) {
  server_->Say(200, "{}");
  server_->Say(409, "{}");
  EXPECT_TRUE(client_.Delete({kPods, "a", "b"}).ok());
  EXPECT_EQ(server_->requests[0].body, "");
  EXPECT_EQ(client_.Delete({kPods, "a", "b"}, "460c-5c93").error().code(), Code::kExists);
  EXPECT_THAT(server_->requests[1].body, HasSubstr(R"("preconditions":{"uid":"460c-5c93"})"));
  EXPECT_EQ(client_.Delete({kPods, "a", "b"}, "\"}").error().code(), Code::kInvalid);
  EXPECT_EQ(client_.Delete({kPods, "a", ""}).error().code(), Code::kInvalid);
}

TEST_F(ClientTest, AnEvictionIsDoneOrMigratesOrIsBlocked) {
  server_->Say(201, "{}");
  const ObjectRef pod{kPods, "a", "p"};
  EXPECT_EQ(client_.Evict(pod, "", "policy/v1beta1")->outcome, Eviction::kEvicted);
  EXPECT_EQ(server_->requests[0].target, "/api/v1/namespaces/a/pods/p/eviction");
  EXPECT_EQ(server_->requests[0].body, R"({"apiVersion":"policy/v1beta1","kind":"Eviction",)"
                                       R"("metadata":{"name":"p","namespace":"a"}})");
  server_->Say(429, R"({"reason": "TooManyRequests", "message": "admission webhook denied the )"
                    R"(request: Eviction triggered evacuation of VMI \"a/vm\""})");
  EXPECT_EQ(client_.Evict(pod, "u-1", "policy/v1")->outcome, Eviction::kMigrating);
  EXPECT_THAT(server_->requests[1].body,
              HasSubstr(R"("deleteOptions":{"preconditions":{"uid":"u-1"}})"));
  server_->Say(429,
               R"({"message": "Cannot evict pod: it would violate its budget", "details":)"
               R"({"causes": [{"reason": "DisruptionBudget"}]}})",
               seconds(10));
  const auto blocked = client_.Evict(pod, "u-1", "policy/v1");
  EXPECT_EQ(blocked->outcome, Eviction::kBlocked);
  EXPECT_EQ(blocked->retry_after, seconds(10));
  EXPECT_THAT(blocked->message, HasSubstr("budget"));
  server_->Say(429, R"({"message": "VMI vm is not live-migratable"})");
  EXPECT_EQ(client_.Evict(pod, "u-1", "policy/v1").error().code(), Code::kUnavailable);
  server_->Say(409, "{}");
  EXPECT_EQ(client_.Evict(pod, "u-1", "policy/v1").error().code(), Code::kExists);
  server_->Say(404, "{}");
  EXPECT_EQ(client_.Evict(pod, "u-1", "policy/v1").error().code(), Code::kNotFound);
  EXPECT_THAT(time_.rests, IsEmpty());
}

TEST_F(ClientTest, DiscoversTheVersionOfEvictions) {
  const auto list = [](const std::string& version) {
    return R"({"resources": [{"name": "pods", "kind": "Pod"}, {"name": "pods/eviction",
      "group": "policy", "version": ")" +
           version + R"(", "kind": "Eviction"}]})";
  };
  server_->Say(200, list("v1"));
  EXPECT_EQ(*EvictionVersion(client_), "policy/v1");
  EXPECT_EQ(server_->requests[0].target, "/api/v1");
  server_->Say(200, list("v1beta1"));
  EXPECT_EQ(*EvictionVersion(client_), "policy/v1beta1");
  server_->Say(200, list("v2"));
  EXPECT_EQ(EvictionVersion(client_).error().code(), Code::kNotFound);
  server_->Say(200, "{}");
  EXPECT_EQ(EvictionVersion(client_).error().code(), Code::kNotFound);
  server_->Say(403, kForbidden);
  EXPECT_EQ(EvictionVersion(client_).error().code(), Code::kDenied);
}

TEST_F(ClientTest, KnowsWhetherAKindIsServed) {
  server_->Say(200, R"({"resources": [{"name": "virtualmachineinstances"}]})");
  EXPECT_EQ(*Serves(client_, kVmis), true);
  EXPECT_EQ(server_->requests[0].target, "/apis/kubevirt.io/v1");
  server_->Say(200, R"({"resources": []})");
  EXPECT_EQ(*Serves(client_, kVmis), false);
  server_->Say(404, "404 page not found");
  EXPECT_EQ(*Serves(client_, kVmis), false);
  server_->Say(403, kForbidden);
  EXPECT_EQ(Serves(client_, kVmis).error().code(), Code::kDenied);
}

}  // namespace
}  // namespace ullage::kube
