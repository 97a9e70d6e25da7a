// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/departures.h"

#include <gmock/gmock.h>

#include "node-agent/kube/fake_api_server.h"

namespace ullage::actuators {
namespace {

using testing::HasSubstr;

constexpr const char* kPods = R"({"resources": [{"name": "pods/eviction", "group": "policy",
  "version": "v1"}]})";
constexpr const char* kVmi = R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "here",
  "activePods": {"pod-1": "here"}}})";
constexpr const char* kVmiTo = R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "here",
  "migrationState": {"migrationUid": "a1", "targetNode": "there"}}})";
constexpr const char* kEvictionPath = "/api/v1/namespaces/a/pods/virt-launcher-web/eviction";
constexpr const char* kMigrationPath =
    "/apis/kubevirt.io/v1/namespaces/a/virtualmachineinstancemigrations/ullage-x";

std::string Migrates(const std::string& phase, const std::string& more = "") {
  return R"({"metadata": {"name": "ullage-x", "uid": "a1"}, "status": {"phase": ")" + phase + "\"" +
         more + "}}";
}
std::string RelaxedIs(const std::string& status, const std::string& reason) {
  return R"({"status": {"conditions": [{"type": "Safe", "status": "False"}, {"type": "Relaxed",
    "status": ")" +
         status + R"(", "reason": ")" + reason + "\"}]}}";
}

class DeparturesTest : public testing::Test {
 protected:
  // What the last request asked for.
  const kube::HttpRequest& Last() const { return server_->requests.back(); }
  Result<std::string> Evict() { return departures_.Evict(web_, {}); }
  // After the questions that come first.
  Result<std::string> EvictAnswered(int status, const std::string& body) {
    server_->Say(200, kVmi);
    server_->Say(200, kPods);
    server_->Say(status, body);
    return Evict();
  }
  Result<Departures::Asked> MigrateAnswered(int status, const std::string& body) {
    server_->Say(200, kVmi);
    server_->Say(status, body);
    return departures_.Migrate(web_, {});
  }
  std::optional<Status> LookAt(const std::string& body) {
    server_->Say(200, body);
    return departures_.Look(migration_, {});
  }
  // Once it has a target, whose NodeReclaim is answered so.
  std::optional<Status> LookAtTarget(int status, const std::string& body) {
    server_->Say(200, Migrates("PreparingTarget"));
    server_->Say(200, kVmiTo);
    server_->Say(status, body);
    return departures_.Look(migration_, {});
  }

  std::shared_ptr<kube::FakeTransport> server_ = std::make_shared<kube::FakeTransport>();
  kube::FakeTime time_;
  kube::Client client_{server_, {time_, time_, kube::AlwaysHundred()}};
  Departures departures_{client_, "here"};
  Departure web_{{"vm-1"}, "a", "web", "virt-launcher-web", "pod-1", "64 MiB is left"};
  Migration migration_{web_, "ullage-x", "a1"};
};

TEST_F(DeparturesTest, EvictsThatPodAndNoOther) {
  const auto came = EvictAnswered(201, "{}");
  ASSERT_TRUE(came.ok()) << came.error().message();
  EXPECT_THAT(*came, HasSubstr("virt-launcher-web ends"));
  EXPECT_EQ(server_->requests[0].target,
            "/apis/kubevirt.io/v1/namespaces/a/virtualmachineinstances/web");
  EXPECT_EQ(Last().target, kEvictionPath);
  EXPECT_THAT(Last().body, HasSubstr(R"("apiVersion":"policy/v1")"));
  EXPECT_THAT(Last().body, HasSubstr(R"("preconditions":{"uid":"pod-1"})"));
  // Which version it takes is asked once.
  server_->Say(200, kVmi);
  server_->Say(201, "{}");
  EXPECT_TRUE(Evict().ok());
  EXPECT_EQ(server_->requests.size(), 5u);
}

TEST_F(DeparturesTest, AskedToGoIsSuccess) {
  const auto migrates = EvictAnswered(
      429, R"({"message": "admission webhook \"pod-eviction.kubevirt.io\" denied the request: )"
           R"(Eviction triggered evacuation of VMI \"a/web\""})");
  ASSERT_TRUE(migrates.ok());
  EXPECT_THAT(*migrates, HasSubstr("evacuation of VMI"));
  server_->Say(200, kVmi);
  server_->Say(429, R"({"message": "it would violate the pod's disruption budget", "details":
    {"causes": [{"reason": "DisruptionBudget"}]}})",
               seconds(10));
  const auto blocked = Evict();
  ASSERT_TRUE(blocked.ok());
  EXPECT_THAT(*blocked, HasSubstr("PodDisruptionBudget keeps it"));
  server_->Say(200, kVmi);
  server_->Say(404, "{}");
  EXPECT_TRUE(Evict().ok()) << "it has gone";
}

TEST_F(DeparturesTest, ARefusalIsNoSuccess) {
  const auto code = [&](int status, const char* body) {
    const auto came = EvictAnswered(status, body);
    return came.ok() ? std::nullopt : std::optional(came.error().code());
  };
  EXPECT_EQ(code(429, R"({"message": "VMI web is configured with an eviction strategy but is not)"
                      R"( live-migratable"})"),
            Code::kUnavailable);
  EXPECT_EQ(code(403, "{}"), Code::kDenied);
  EXPECT_EQ(code(409, R"({"message": "Precondition failed: UID in precondition: pod-1"})"),
            Code::kExists);
  EXPECT_EQ(code(422, "{}"), Code::kInvalid);
  EXPECT_EQ(code(500, R"({"message": "This pod has more than one PodDisruptionBudget"})"),
            Code::kInternal);
  // After each the version is asked anew: the server may be another one.
  EXPECT_EQ(server_->requests.size(), 15u);
  server_->Say(200, kVmi);
  server_->Say(200, kPods);
  server_->Break(Code::kDeadline);
  EXPECT_EQ(Evict().error().code(), Code::kDeadline);
}

TEST_F(DeparturesTest, WhoIsNoLongerHereIsLeftAlone) {
  const char* const others[] = {
      R"({"metadata": {"uid": "vm-2"}, "status": {"nodeName": "here",
        "activePods": {"pod-1": "here"}}})",
      R"({"metadata": {"uid": "vm-1", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status":
        {"nodeName": "here", "activePods": {"pod-1": "here"}}})",
      R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "here",
        "activePods": {"pod-2": "here"}}})",
      R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "there",
        "activePods": {"pod-1": "here"}}})",
      R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "here", "activePods": {"pod-1":
        "here"}, "migrationState": {"migrationUid": "m-0"}}})",
  };
  for (const char* other : others) {
    server_->Say(200, other);
    EXPECT_TRUE(Evict().ok()) << other;
    server_->Say(200, other);
    const auto asked = departures_.Migrate(web_, {});
    ASSERT_TRUE(asked.ok()) << other;
    EXPECT_FALSE(asked->migration) << other;
  }
  server_->Say(404, "{}");
  EXPECT_TRUE(Evict().ok());
  for (const auto& request : server_->requests) EXPECT_EQ(request.method, "GET");
  // Whoever cannot be asked about is not known to be here.
  server_->Say(403, "{}");
  EXPECT_EQ(Evict().error().code(), Code::kDenied);
  server_->Say(500, "{}");
  EXPECT_EQ(departures_.Migrate(web_, {}).error().code(), Code::kInternal);
  EXPECT_EQ(Last().method, "GET");
}

TEST_F(DeparturesTest, MakesAMigrationThatSaysWhoseItIsAndWhy) {
  const auto asked = MigrateAnswered(201, Migrates(""));
  ASSERT_TRUE(asked.ok()) << asked.error().message();
  ASSERT_TRUE(asked->migration);
  EXPECT_EQ(asked->migration->name, "ullage-x");
  EXPECT_EQ(asked->migration->uid, "a1");
  EXPECT_EQ(Last().target, "/apis/kubevirt.io/v1/namespaces/a/virtualmachineinstancemigrations");
  EXPECT_THAT(Last().body, HasSubstr(R"("spec":{"vmiName":"web"})"));
  EXPECT_THAT(Last().body, HasSubstr(R"("generateName":"ullage-")"));
  EXPECT_THAT(Last().body, HasSubstr(R"("ullage.io/reason":"64 MiB is left")"));
  EXPECT_THAT(Last().body, HasSubstr(R"("app.kubernetes.io/managed-by":"ullage-agent")"));
}

TEST_F(DeparturesTest, ARefusedMigrationSaysWhyInKubeVirtsWords) {
  const auto refused = MigrateAnswered(
      400, R"({"message": "in-flight migration detected. Active migration job m-0"})");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalid);
  EXPECT_THAT(refused.error().message(), HasSubstr("in-flight migration detected"));
  EXPECT_EQ(MigrateAnswered(403, "{}").error().code(), Code::kDenied);
  EXPECT_EQ(MigrateAnswered(404, "404 page not found").error().code(), Code::kNotFound);
  EXPECT_EQ(MigrateAnswered(422, "{}").error().code(), Code::kInvalid);
  EXPECT_EQ(MigrateAnswered(201, "{}").error().code(), Code::kInternal) << "without a name";
  // KubeVirt has said before that it cannot.
  const std::size_t asked = server_->requests.size();
  server_->Say(200, R"({"metadata": {"uid": "vm-1"}, "status": {"nodeName": "here", "activePods":
    {"pod-1": "here"}, "conditions": [{"type": "LiveMigratable", "status": "False", "reason":
    "DisksNotLiveMigratable", "message": "cannot migrate VMI with non-shared\u001b PVCs"}]}})");
  const auto stays = departures_.Migrate(web_, {});
  EXPECT_EQ(stays.error().message(),
            "it cannot migrate: DisksNotLiveMigratable: cannot migrate VMI with non-shared\\x1b "
            "PVCs");
  EXPECT_EQ(server_->requests.size(), asked + 1);
}

TEST_F(DeparturesTest, FollowsAMigrationToItsEnd) {
  EXPECT_FALSE(LookAt(Migrates("")));
  EXPECT_FALSE(LookAt(Migrates("Pending")));
  EXPECT_FALSE(LookAt(Migrates("Scheduling")));
  EXPECT_EQ(server_->requests.size(), 3u) << "it has no target yet";
  EXPECT_FALSE(LookAtTarget(200, RelaxedIs("True", "EnoughLeft")));
  EXPECT_EQ(Last().target, "/apis/ullage.io/v1alpha1/nodereclaims/there");
  EXPECT_EQ(migration_.target, "there");
  EXPECT_FALSE(LookAt(Migrates("Running"))) << "judged once";
  const auto left = LookAt(Migrates("Succeeded"));
  EXPECT_TRUE(left && left->ok());
}

TEST_F(DeparturesTest, AFailedMigrationSaysWhy) {
  const auto failed =
      LookAt(Migrates("Failed", R"(, "migrationState": {"failureReason": "no route"})"));
  ASSERT_TRUE(failed && !failed->ok());
  EXPECT_THAT(failed->error().message(), HasSubstr("ullage-x failed: no route"));
  server_->Say(404, "{}");
  const auto deleted = departures_.Look(migration_, {});
  ASSERT_TRUE(deleted && !deleted->ok());
  EXPECT_EQ(deleted->error().code(), Code::kGone);
  const auto another = LookAt(R"({"metadata": {"uid": "a2"}, "status": {"phase": "Running"}})");
  ASSERT_TRUE(another && !another->ok());
  server_->Say(403, "{}");
  EXPECT_EQ(departures_.Look(migration_, {})->error().code(), Code::kDenied);
  // An API server that is away for a while ends nothing.
  server_->Say(500, "{}");
  EXPECT_FALSE(departures_.Look(migration_, {}));
  server_->Break(Code::kDeadline);
  EXPECT_FALSE(departures_.Look(migration_, {}));
}

TEST_F(DeparturesTest, CallsOffWhatWouldGoToANodeThatIsShort) {
  server_->Say(200, Migrates("PreparingTarget"));
  server_->Say(200, kVmiTo);
  server_->Say(200, RelaxedIs("False", "Hold"));
  server_->Say(200, "{}");
  const auto off = departures_.Look(migration_, {});
  ASSERT_TRUE(off && !off->ok());
  EXPECT_THAT(off->error().message(), HasSubstr("node there is short of memory itself (Hold)"));
  EXPECT_EQ(Last().method, "DELETE");
  EXPECT_EQ(Last().target, kMigrationPath);
  EXPECT_THAT(Last().body, HasSubstr(R"("preconditions":{"uid":"a1"})"));
}

TEST_F(DeparturesTest, AsksUntilItKnowsHowTheTargetIs) {
  EXPECT_FALSE(LookAtTarget(500, "{}"));
  EXPECT_TRUE(migration_.target.empty());
  // Nor is it forgotten where it cannot be called off just now.
  server_->Say(200, Migrates("PreparingTarget"));
  server_->Say(200, kVmiTo);
  server_->Say(200, RelaxedIs("False", "Evict"));
  server_->Say(500, "{}");
  EXPECT_FALSE(departures_.Look(migration_, {}));
  EXPECT_TRUE(migration_.target.empty());
  // Its launcher there is ready, and KubeVirt has not said so at the VMI yet.
  server_->Say(200, Migrates("Scheduled"));
  EXPECT_FALSE(LookAt(kVmi));
  EXPECT_TRUE(migration_.target.empty());
  // Nothing is promised twice where no agent is.
  EXPECT_FALSE(LookAtTarget(404, "{}"));
  EXPECT_EQ(migration_.target, "there");
}

TEST_F(DeparturesTest, WhereTheTargetMayNotBeKnownNobodyGoes) {
  server_->Say(200, Migrates("Scheduled"));
  server_->Say(200, kVmiTo);
  server_->Say(403, R"({"message": "cannot get resource \"nodereclaims\""})");
  server_->Say(403, R"({"message": "cannot delete resource"})");
  const auto off = departures_.Look(migration_, {});
  ASSERT_TRUE(off && !off->ok());
  EXPECT_THAT(off->error().message(), HasSubstr("cannot get resource"));
  EXPECT_THAT(off->error().message(), HasSubstr("is not: "));
  EXPECT_THAT(off->error().message(), HasSubstr("cannot delete resource"));
}

}  // namespace
}  // namespace ullage::actuators
