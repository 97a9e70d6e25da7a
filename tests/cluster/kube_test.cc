// SPDX-License-Identifier: Apache-2.0
// node-agent/kube against a real API server, whose kubeconfig ULLAGE_TEST_KUBECONFIG names. Its
// user has to be a cluster's administrator. Skipped without it.
#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "node-agent/kube/quantity.h"
#include "node-agent/kube/reflector.h"
#include "node-agent/kube/test_certificates.h"
#include "tests/cluster/api_server.h"

namespace ullage::kube {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using tests::kCrds;
using tests::kNamespaces;

constexpr Resource kConfigMaps{"", "v1", "configmaps"};
constexpr Resource kServiceAccounts{"", "v1", "serviceaccounts"};
constexpr Resource kRoles{"rbac.authorization.k8s.io", "v1", "roles"};
constexpr Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings"};
constexpr Resource kThings{"kube-test.ullage.io", "v1", "things"};
constexpr const char* kSpace = "ullage-kube-test";
constexpr const char* kNode = "ullage-kube-test-node";
constexpr const char* kReclaimable = "ullage.io/reclaimable-memory";

// One namespace for the whole program, made anew: what an earlier run left is no one's.
class Cluster : public tests::ApiServerTest {
 protected:
  Cluster() : ApiServerTest("kube-test", 300) {}

  void SetUp() override {
    ApiServerTest::SetUp();
    if (!client_) return;
    const auto made = client_->CreateText({kNamespaces}, Named("v1", "Namespace", kSpace, ""));
    if (!made) {
      ASSERT_EQ(made.error().code(), Code::kExists) << made.error().message();
    }
  }

  static std::string Named(const std::string& version, const std::string& kind,
                           const std::string& name, const std::string& rest) {
    return R"({"apiVersion":")" + version + R"(","kind":")" + kind + R"(","metadata":{"name":")" +
           name + R"("})" + rest + "}";
  }
  // At once, and its body says its name.
  void Put(const ObjectRef& ref, const std::string& body) {
    MUST(client_->PatchText(ref, Patch::Apply(body, "kube-test", true)));
  }
};

TEST_F(Cluster, ApplyingTheSameTwiceChangesNothing) {
  k8s::Lease lease;
  lease.set_api_version("coordination.k8s.io/v1");
  lease.set_kind("Lease");
  lease.mutable_metadata()->set_name("twice");
  lease.mutable_metadata()->set_namespace_(kSpace);
  lease.mutable_spec()->set_holder_identity("me");
  lease.mutable_spec()->set_lease_duration_seconds(15);
  const ObjectRef ref{kLeases, kSpace, "twice"};
  Clear(ref);
  const auto first = client_->Apply(ref, lease, "kube-test", false);
  MUST(first);
  const auto second = client_->Apply(ref, lease, "kube-test", false);
  MUST(second);
  EXPECT_EQ(first->metadata().resource_version(), second->metadata().resource_version());
  EXPECT_EQ(second->spec().holder_identity(), "me");
  lease.mutable_spec()->set_holder_identity("you");
  const auto other = client_->Apply(ref, lease, "somebody-else", false);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code(), Code::kExists) << other.error().message();
  const auto forced = client_->Apply(ref, lease, "somebody-else", true);
  MUST(forced);
  EXPECT_EQ(forced->spec().holder_identity(), "you");
  EXPECT_NE(forced->metadata().resource_version(), second->metadata().resource_version());
}

TEST_F(Cluster, CreatesListsByPagesAndDeletes) {
  constexpr int kCount = 7;
  for (int i = 0; i < kCount; ++i) {
    Put({kConfigMaps, kSpace, "page-" + std::to_string(i)},
        R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"page-)" + std::to_string(i) +
            R"(","labels":{"pages":"yes"}}})");
  }
  ClientOptions options;
  options.page_size = 3;
  const Client small(*MakeTransport(access_), {pause_, clock_, SystemRandom()}, options);
  const auto all = small.List<k8s::LeaseList>({kConfigMaps, kSpace}, {"pages=yes", ""});
  MUST(all);
  EXPECT_EQ(all->items_size(), kCount);
  const ObjectRef first{kConfigMaps, kSpace, "page-0"};
  EXPECT_EQ(client_->Delete(first, "00000000-0000-0000-0000-000000000000").error().code(),
            Code::kExists);
  MUST(client_->Delete(first, all->items(0).metadata().uid()));
  EXPECT_EQ(client_->GetText(first).error().code(), Code::kNotFound);
  const auto bad = client_->CreateText({kConfigMaps, kSpace}, R"({"kind":"ConfigMap"})");
  EXPECT_EQ(bad.error().code(), Code::kInvalid) << bad.error().message();
}

TEST_F(Cluster, PatchesAnExtendedResourceIntoANodesStatus) {
  const ObjectRef status{kNodes, "", kNode, "status"};
  Clear({kNodes, "", kNode});
  MUST(client_->CreateText({kNodes}, Named("v1", "Node", kNode, "")));
  JsonPatch patch;
  // A node without a kubelet has no such maps yet.
  MUST(client_->PatchText({kNodes, "", kNode, "status"},
                          {"application/merge-patch+json", R"({"status":{"capacity":{"cpu":"1"},)"
                                                           R"("allocatable":{"cpu":"1"}}})"}));
  patch.Add({"status", "capacity", kReclaimable}, "134217728")
      .Add({"status", "allocatable", kReclaimable}, "134217728");
  const auto patched = client_->PatchAs<k8s::Node>(status, Patch::Json(patch));
  MUST(patched);
  const auto node = client_->Get<k8s::Node>({kNodes, "", kNode});
  MUST(node);
  ASSERT_TRUE(node->status().capacity().contains(kReclaimable));
  EXPECT_EQ(*ParseQuantity(node->status().capacity().at(kReclaimable)), 134217728);
  EXPECT_EQ(*ParseQuantity(node->status().allocatable().at(kReclaimable)), 134217728);
  // The same again writes nothing. The controller manager may write meanwhile: the node is new.
  std::string before;
  std::string after = "none yet";
  for (int i = 0; i < 100 && before != after; ++i, Rest()) {
    const auto now = client_->Get<k8s::Node>({kNodes, "", kNode});
    MUST(now);
    before = now->metadata().resource_version();
    const auto again = client_->PatchAs<k8s::Node>(status, Patch::Json(patch));
    MUST(again);
    after = again->metadata().resource_version();
  }
  EXPECT_EQ(before, after);
  MUST(client_->PatchText(status,
                          Patch::Json(JsonPatch()
                                          .Test({"status", "capacity", kReclaimable}, "134217728")
                                          .Remove({"status", "capacity", kReclaimable}))));
  const auto tested = client_->PatchText(
      status, Patch::Json(JsonPatch().Test({"metadata", "resourceVersion"}, "1")));
  EXPECT_EQ(tested.error().code(), Code::kInvalid) << tested.error().message();
  Clear({kNodes, "", kNode});
}

// Keeps what it hears and lets others wait for it.
template <typename T>
class Diary final : public Handler<T> {
 public:
  void OnAll(std::vector<Item<T>> all) override {
    std::string names = "all";
    for (const auto& item : all) names += " " + item.object.metadata().name();
    Note(names);
  }
  void OnChange(Change change, Item<T> item) override {
    const char* names[] = {"added ", "modified ", "deleted "};
    Note(names[static_cast<int>(change)] + item.object.metadata().name());
  }
  void OnFault(const Error& error) override { Note("fault " + error.message()); }
  void OnFine() override { Note("fine"); }

  // All lines so far; waits until there are `count`, but not for ever.
  std::vector<std::string> Await(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, seconds(60), [&] { return lines_.size() >= count; });
    return lines_;
  }

 private:
  void Note(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

TEST_F(Cluster, AWatchHearsChangesInOrder) {
  const ObjectRef ref{kConfigMaps, kSpace, "watched"};
  Clear(ref);
  Diary<k8s::Lease> diary;
  WatchOptions options;
  options.selection.fields = "metadata.name=watched";
  const auto reflector =
      Reflector::Start<k8s::Lease>(*client_, {kConfigMaps, kSpace}, options, diary);
  MUST(reflector);
  EXPECT_THAT(diary.Await(1), ElementsAre("all"));
  for (int i = 0; i < 4; ++i) {
    Put(ref,
        Named("v1", "ConfigMap", "watched", R"(,"data":{"i":")" + std::to_string(i) + R"("})"));
  }
  MUST(client_->Delete(ref));
  EXPECT_THAT(diary.Await(6),
              ElementsAre("all", "added watched", "modified watched", "modified watched",
                          "modified watched", "deleted watched"));
  EXPECT_NE((*reflector)->heard_at(), BootTime());
}

// Makes the first watch ask for a version that the server has forgotten.
class Forgetful final : public Transport {
 public:
  explicit Forgetful(std::shared_ptr<Transport> below) : below_(std::move(below)) {}

  Result<HttpHead> Exchange(const HttpRequest& request, const HttpLimits& limits,
                            const std::stop_token& stop, const Receive& receive) override {
    const std::size_t at = request.target.find("resourceVersion=");
    if (done_ || request.target.find("watch=true") == std::string::npos) {
      return below_->Exchange(request, limits, stop, receive);
    }
    done_ = true;
    HttpRequest old = request;
    const std::size_t value = at + std::string_view("resourceVersion=").size();
    old.target.replace(value, old.target.find('&', value) - value, "1");
    std::string said;
    auto head =
        below_->Exchange(old, limits, stop, [&](const HttpHead& so_far, std::string_view piece) {
          said += piece;
          return receive(so_far, piece);
        });
    expired_ = (head.ok() && head->status == 410) || said.find("\"code\":410") != std::string::npos;
    return head;
  }
  bool expired() const { return expired_; }

 private:
  const std::shared_ptr<Transport> below_;
  bool done_ = false;
  std::atomic<bool> expired_ = false;
};

TEST_F(Cluster, AWatchSurvivesAVersionThatIsTooOld) {
  // A new kind: whatever the server kept of it began long after version 1.
  Put({kCrds, "", "things.kube-test.ullage.io"},
      Named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.kube-test.ullage.io",
            R"(,"spec":{"group":"kube-test.ullage.io","scope":"Namespaced",)"
            R"("names":{"plural":"things","singular":"thing","kind":"Thing"},)"
            R"("versions":[{"name":"v1","served":true,"storage":true,"schema":)"
            R"({"openAPIV3Schema":{"type":"object"}}}]})"));
  const auto put = [&](const std::string& name) {
    return client_->PatchText(
        {kThings, kSpace, name},
        Patch::Apply(Named("kube-test.ullage.io/v1", "Thing", name, ""), "kube-test", true));
  };
  // The server needs a moment to serve it.
  const auto served = [&] {
    const auto is = Serves(*client_, kThings);
    return is && *is;
  };
  for (int i = 0; i < 300 && !served(); ++i) Rest();
  for (int i = 0; i < 300 && !put("a"); ++i) Rest();
  Clear({kThings, kSpace, "b"});
  const auto server = std::make_shared<Forgetful>(*MakeTransport(access_));
  const Client client(server, {pause_, clock_, SystemRandom()});
  Diary<k8s::Lease> diary;
  const auto reflector = Reflector::Start<k8s::Lease>(client, {kThings, kSpace}, {}, diary);
  MUST(reflector);
  EXPECT_THAT(diary.Await(2), ElementsAre("all a", "all a"));
  EXPECT_TRUE(server->expired());
  MUST(put("b"));
  EXPECT_THAT(diary.Await(3), ElementsAre("all a", "all a", "added b"));
}

TEST_F(Cluster, AnotherCaIsRefused) {
  const Authority other("other");
  Access access = access_;
  access.ca = {other.certificate(), ""};
  const auto got = ClientOf(access)->GetText({kNamespaces, "", kSpace});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code(), Code::kDenied) << got.error().message();
  EXPECT_THAT(got.error().message(), HasSubstr("certificate"));
}

TEST_F(Cluster, AWrongTokenIsDenied) {
  const Access access{access_.server, access_.ca, {}, {}, {"wrong", ""}};
  const auto got = ClientOf(access)->GetText({kNamespaces, "", kSpace});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code(), Code::kDenied);
  EXPECT_THAT(got.error().message(), HasSubstr("401 Unauthorized"));
}

TEST_F(Cluster, AVerbThatIsNotGrantedIsDeniedInTheServersWords) {
  const std::string group = "rbac.authorization.k8s.io";
  Put({kServiceAccounts, kSpace, "limited"}, Named("v1", "ServiceAccount", "limited", ""));
  Put({kRoles, kSpace, "limited"},
      Named(group + "/v1", "Role", "limited",
            R"(,"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}])"));
  Put({kRoleBindings, kSpace, "limited"},
      Named(group + "/v1", "RoleBinding", "limited",
            R"(,"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"limited"},)"
            R"("subjects":[{"kind":"ServiceAccount","name":"limited","namespace":")" +
                std::string(kSpace) + R"("}])"));
  Put({kConfigMaps, kSpace, "readable"}, Named("v1", "ConfigMap", "readable", ""));
  const auto made = client_->CreateText(
      {kServiceAccounts, kSpace, "limited", "token"},
      R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}})");
  MUST(made);
  const auto token = nlohmann::json::parse(*made, nullptr, false)["status"]["token"];
  ASSERT_TRUE(token.is_string()) << *made;
  const auto limited =
      ClientOf({access_.server, access_.ca, {}, {}, {token.get<std::string>(), ""}});
  const ObjectRef readable{kConfigMaps, kSpace, "readable"};
  // The server hears of the new role a moment later.
  for (int i = 0; i < 300 && !limited->GetText(readable); ++i) Rest();
  MUST(limited->GetText(readable));
  const auto denied = limited->Delete(readable);
  ASSERT_FALSE(denied.ok());
  EXPECT_EQ(denied.error().code(), Code::kDenied);
  EXPECT_THAT(denied.error().message(),
              HasSubstr(R"(User "system:serviceaccount:ullage-kube-test:limited" cannot delete)"));
  const auto watched = limited->List<k8s::LeaseList>({kConfigMaps, kSpace});
  EXPECT_EQ(watched.error().code(), Code::kDenied);
}

TEST_F(Cluster, DiscoversWhatItServes) {
  const auto version = EvictionVersion(*client_);
  MUST(version);
  EXPECT_THAT(*version, AnyOf("policy/v1", "policy/v1beta1"));
  EXPECT_EQ(*Serves(*client_, kLeases), true);
  EXPECT_EQ(*Serves(*client_, {"nobody.ullage.io", "v1", "things"}), false);
  const auto evicted = client_->Evict({kPods, kSpace, "no-such-pod"}, "", *version);
  EXPECT_EQ(evicted.error().code(), Code::kNotFound) << evicted.error().message();
}

}  // namespace
}  // namespace ullage::kube
