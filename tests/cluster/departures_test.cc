// SPDX-License-Identifier: Apache-2.0
// Evictions and migrations against a real API server (ULLAGE_TEST_KUBECONFIG, as kube_test.cc): its
// pods/eviction with PodDisruptionBudgets and preconditions, and VMI objects whose status the test
// writes in KubeVirt's stead. KubeVirt's own webhooks and controllers take no part.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "node-agent/actuators/mover.h"
#include "tests/cluster/api_server.h"

namespace ullage::actuators {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kSpace = "ullage-departures-test";
constexpr const char* kHere = "ullage-departures-here";
constexpr const char* kThere = "ullage-departures-there";

class Departing : public tests::ApiServerTest {
 protected:
  Departing() : ApiServerTest("departures-test", 600) {}

  void SetUp() override {
    ApiServerTest::SetUp();
    if (!client_) return;
    Put({tests::kNamespaces, "", kSpace}, R"({"apiVersion":"v1","kind":"Namespace"})");
    PutKubevirtCrd("virtualmachineinstance", "VirtualMachineInstance");
    PutKubevirtCrd("virtualmachineinstancemigration", "VirtualMachineInstanceMigration");
    PutOurCrd("nodereclaims");
    AwaitServed(kube::kMigrations);
    Clear();
    Put({kube::kNodes, "", kHere}, R"({"apiVersion":"v1","kind":"Node"})");
    PutVm();
  }
  void TearDown() override {
    if (client_) Clear();
  }
  // Also what an earlier run left.
  void Clear() {
    const auto all =
        client_->List<k8s::VirtualMachineInstanceMigrationList>({kube::kMigrations, kSpace});
    if (all) {
      for (const auto& one : all->items()) {
        (void)client_->Delete({kube::kMigrations, kSpace, one.metadata().name()});
      }
    }
    for (const kube::ObjectRef& ref :
         {Vmi(), Pod(), Budget(), kube::ObjectRef{kube::kNodeReclaims, "", kThere},
          kube::ObjectRef{kube::kNodes, "", kHere}}) {
      (void)client_->Delete(ref);
    }
  }

  static kube::ObjectRef Vmi() { return {kube::kVmis, kSpace, "web"}; }
  static kube::ObjectRef Pod() { return {kube::kPods, kSpace, "virt-launcher-web"}; }
  kube::ObjectRef Budget() const {
    // Since 1.21 it is v1, and v1beta1 until 1.24.
    const auto v1 = kube::Serves(*client_, {"policy", "v1", "poddisruptionbudgets"});
    const bool is_new = v1.ok() && *v1;
    return {{"policy", is_new ? "v1" : "v1beta1", "poddisruptionbudgets"}, kSpace, "keep"};
  }

  void Merge(const kube::ObjectRef& ref, const std::string& body) {
    MUST(client_->PatchText(ref, {"application/merge-patch+json", body}));
  }
  // A VMI whose launcher runs, as far as the API server knows.
  void PutVm() {
    Put(Pod(), std::string(R"({"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"vm":"web"}},)"
                           R"("spec":{"nodeName":")") +
                   kHere +
                   R"(","terminationGracePeriodSeconds":0,"automountServiceAccountToken":false,)"
                   R"("containers":[{"name":"compute","image":"none"}]}})");
    kube::ObjectRef status = Pod();
    status.subresource = "status";
    Merge(status,
          R"({"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}})");
    const auto pod = client_->Get<k8s::Pod>(Pod());
    MUST(pod);
    Put(Vmi(), R"({"apiVersion":"kubevirt.io/v1","kind":"VirtualMachineInstance"})");
    const auto vmi = client_->Get<k8s::VirtualMachineInstance>(Vmi());
    MUST(vmi);
    web_ = {{vmi->metadata().uid()}, kSpace,  "web", "virt-launcher-web",
            pod->metadata().uid(),   "a test"};
    PutVmiStatus(R"("nodeName":")" + std::string(kHere) + R"(","activePods":{")" + web_.pod_uid +
                 R"(":")" + kHere + "\"}");
  }
  void PutVmiStatus(const std::string& fields) { Merge(Vmi(), R"({"status":{)" + fields + "}}"); }
  Departure web_;
};

TEST_F(Departing, ThePodThatIsMeantIsEvictedAndNoOther) {
  Departures departures(*client_, kHere);
  // KubeVirt still names a pod of that name that is not the one any more.
  Departure old = web_;
  old.pod_uid = "00000000-0000-4000-8000-000000000000";
  PutVmiStatus(R"("activePods":{")" + old.pod_uid + R"(":")" + kHere + "\"}");
  const auto refused = departures.Evict(old, {});
  ASSERT_FALSE(refused.ok()) << *refused;
  EXPECT_EQ(refused.error().code(), Code::kExists);
  EXPECT_THAT(refused.error().message(), HasSubstr(old.pod_uid));

  Put(Budget(), R"({"apiVersion":"policy/)" + std::string(Budget().resource.version) +
                    R"(","kind":"PodDisruptionBudget","spec":{"minAvailable":1,)"
                    R"("selector":{"matchLabels":{"vm":"web"}}}})");
  const auto kept = departures.Evict(web_, {});
  MUST(kept);
  EXPECT_THAT(*kept, HasSubstr("a PodDisruptionBudget keeps it for now"));
  const auto pod = client_->Get<k8s::Pod>(Pod());
  MUST(pod);
  EXPECT_EQ(pod->metadata().deletion_timestamp(), "");

  MUST(client_->Delete(Budget()));
  const auto gone = departures.Evict(web_, {});
  MUST(gone);
  EXPECT_THAT(*gone, HasSubstr("virt-launcher-web ends"));
  EXPECT_EQ(client_->Get<k8s::Pod>(Pod()).error().code(), Code::kNotFound);
  const auto again = departures.Evict(web_, {});
  MUST(again);
  EXPECT_THAT(*again, HasSubstr("has gone"));
}

TEST_F(Departing, AMigrationToANodeThatIsShortIsCalledOff) {
  const auto relaxed_is = [&](const std::string& status, const std::string& reason) {
    Put({kube::kNodeReclaims, "", kThere},
        R"({"apiVersion":"ullage.io/v1alpha1","kind":"NodeReclaim"})");
    Merge({kube::kNodeReclaims, "", kThere, "status"},
          R"({"status":{"observedAt":"2026-01-01T00:00:00Z","mode":"reclaim","conditions":[)"
          R"({"type":"Relaxed","status":")" +
              status + R"(","reason":")" + reason +
              R"(","message":"a test","lastTransitionTime":"2026-01-01T00:00:00Z"}]}})");
  };
  relaxed_is("False", "Shrink");
  Snapshot snapshot;
  snapshot.at = clock_.Now();
  VmState& vm = snapshot.vms.emplace_back();
  vm.spec.id = web_.vmi;
  NodeSample& node = snapshot.node.emplace();
  VmiSample& vmi = node.vmis.Edit().emplace_back();
  vmi.spec.id = web_.vmi;
  vmi.name_space = kSpace;
  vmi.name = "web";
  vmi.launcher = web_.pod_uid;
  PodSample& pod = node.pods.Edit().emplace_back();
  pod.uid = web_.pod_uid;
  pod.name = web_.pod;
  pod.vmi = web_.vmi;
  Mover mover(*client_, {.node = kHere, .look_every = milliseconds(100)});
  const auto next = [&]() -> Outcome {
    for (int i = 0; i < 600; ++i, Rest()) {
      auto news = mover.News(snapshot.at.boot);
      if (!news.empty()) return news.front();
    }
    return {{}, Outcome::State::kSkipped, "no news came"};
  };
  const auto migration = [&] {
    const auto all = client_->List<k8s::VirtualMachineInstanceMigrationList>(
        {kube::kMigrations, kSpace}, {"app.kubernetes.io/managed-by=ullage-agent", ""});
    EXPECT_TRUE(all.ok() && all->items_size() == 1);
    return all.ok() && all->items_size() > 0 ? all->items(0)
                                             : k8s::VirtualMachineInstanceMigration();
  };
  const auto goes_there = [&](const k8s::VirtualMachineInstanceMigration& of) {
    PutVmiStatus(R"("migrationState":{"migrationUid":")" + of.metadata().uid() +
                 R"(","targetNode":")" + kThere + "\"}");
    Merge({kube::kMigrations, kSpace, of.metadata().name()},
          R"({"status":{"phase":"PreparingTarget"}})");
  };

  ASSERT_EQ(mover.Ask(snapshot, {Action::Kind::kMigrate, web_.vmi, "a test"}).state,
            Outcome::State::kQueued);
  const Outcome made = next();
  EXPECT_EQ(made.state, Outcome::State::kDone) << made.message;
  const auto first = migration();
  EXPECT_EQ(first.spec().vmi_name(), "web");
  EXPECT_EQ(first.metadata().annotations().at("ullage.io/reason"), "a test");
  EXPECT_TRUE(first.metadata().name().starts_with("ullage-")) << first.metadata().name();
  goes_there(first);
  const Outcome off = next();
  EXPECT_EQ(off.state, Outcome::State::kFailed);
  EXPECT_THAT(off.message, HasSubstr("is short of memory itself (Shrink)"));
  EXPECT_THAT(off.message, HasSubstr("was called off"));
  EXPECT_EQ(client_->GetText({kube::kMigrations, kSpace, first.metadata().name()}).error().code(),
            Code::kNotFound);

  // With a target that has its buffer it goes on to its end, and the next one may be made.
  relaxed_is("True", "EnoughLeft");
  PutVmiStatus(R"("migrationState":null)");
  snapshot.at.boot += seconds(60);
  ASSERT_EQ(mover.Ask(snapshot, {Action::Kind::kMigrate, web_.vmi, "a test"}).state,
            Outcome::State::kQueued);
  EXPECT_EQ(next().state, Outcome::State::kDone);
  const auto second = migration();
  goes_there(second);
  EXPECT_EQ(mover.Ask(snapshot, {Action::Kind::kMigrate, web_.vmi, "a test"}).state,
            Outcome::State::kSkipped);
  Merge({kube::kMigrations, kSpace, second.metadata().name()},
        R"({"status":{"phase":"Succeeded"}})");
  auto state = Outcome::State::kSkipped;
  for (int i = 0; i < 600 && state == Outcome::State::kSkipped; ++i, Rest()) {
    state = mover.Ask(snapshot, {Action::Kind::kMigrate, web_.vmi, "a test"}).state;
  }
  EXPECT_EQ(state, Outcome::State::kQueued);
  EXPECT_THAT(next().message, HasSubstr("a migration of it is under way")) << "by its VMI's word";
}

}  // namespace
}  // namespace ullage::actuators
