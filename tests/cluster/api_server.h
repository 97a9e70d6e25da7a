// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "node-agent/host/clock.h"
#include "node-agent/host/file.h"
#include "node-agent/kube/cpprest_transport.h"
#include "node-agent/kube/discovery.h"
#include "node-agent/kube/kubeconfig.h"

#define MUST(result)                                                \
  do {                                                              \
    const auto& must_result = (result);                             \
    ASSERT_TRUE(must_result.ok()) << must_result.error().message(); \
  } while (false)

namespace ullage::tests {

inline constexpr kube::Resource kNamespaces{"", "v1", "namespaces"};
inline constexpr kube::Resource kCrds{"apiextensions.k8s.io", "v1", "customresourcedefinitions"};

/// A client of the real API server whose kubeconfig ULLAGE_TEST_KUBECONFIG names, as an
/// administrator. Skipped without it: a SetUp that goes on calls this one first and then looks
/// whether there is a client.
class ApiServerTest : public testing::Test {
 protected:
  /// `manager`: the name of who applies. Each wait takes 100 ms `tries` times at most.
  ApiServerTest(std::string manager, int tries) : manager_(std::move(manager)), tries_(tries) {}

  void SetUp() override {
    const char* path = std::getenv("ULLAGE_TEST_KUBECONFIG");
    if (path == nullptr) GTEST_SKIP() << "ULLAGE_TEST_KUBECONFIG names no kubeconfig";
    kubeconfig_ = path;
    const auto access = kube::LoadKubeconfig(path);
    MUST(access);
    access_ = *access;
    client_ = ClientOf(access_);
    ASSERT_NE(client_, nullptr);
  }

  std::unique_ptr<kube::Client> ClientOf(const kube::Access& access) {
    auto transport = kube::MakeTransport(access);
    if (!transport) return nullptr;
    return std::make_unique<kube::Client>(*transport,
                                          kube::Timing{pause_, clock_, kube::SystemRandom()});
  }

  void Rest() { pause_.For(milliseconds(100), {}); }

  /// Makes `body` what it is, whether it was there or not. The body does not say its name. A kind
  /// that has just been declared is not served at once, nor is a namespace ready for pods.
  void Put(const kube::ObjectRef& ref, const std::string& body) {
    auto object = nlohmann::json::parse(body);
    object["metadata"]["name"] = ref.name;
    const auto put = [&] {
      return client_->PatchText(ref, kube::Patch::Apply(object.dump(), manager_, true));
    };
    auto done = put();
    for (int i = 0; i < tries_ && !done; ++i, Rest()) done = put();
    MUST(done);
  }
  /// Fine when it is not there.
  void Clear(const kube::ObjectRef& ref) {
    const auto done = client_->Delete(ref);
    if (!done) {
      EXPECT_EQ(done.error().code(), Code::kNotFound) << done.error().message();
    }
  }

  /// As much of a kind of KubeVirt's as it takes to hold one.
  void PutKubevirtCrd(const std::string& singular, const std::string& kind) {
    Put({kCrds, "", singular + "s.kubevirt.io"},
        R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{)"
        R"("group":"kubevirt.io","scope":"Namespaced","names":{"plural":")" +
            singular + R"(s","singular":")" + singular + R"(","kind":")" + kind +
            R"("},"versions":[{"name":"v1","served":true,"storage":true,"schema":)"
            R"({"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}})");
  }
  /// One of crds/; its schema is checked in tests/crds.
  void PutOurCrd(const std::string& plural) {
    const auto yaml = host::ReadFile(ULLAGE_SOURCE_DIR "/crds/ullage.io_" + plural + ".yaml",
                                     std::size_t{1} << 20);
    MUST(yaml);
    // Server-side apply takes YAML.
    MUST(client_->PatchText({kCrds, "", plural + ".ullage.io"},
                            kube::Patch::Apply(*yaml, manager_, true)));
  }
  void AwaitServed(const kube::Resource& kind) {
    const auto served = [&] {
      const auto is = kube::Serves(*client_, kind);
      return is.ok() && *is;
    };
    for (int i = 0; i < tries_ && !served(); ++i) Rest();
    ASSERT_TRUE(served()) << kind.plural;
  }

  const std::string manager_;
  const int tries_;
  kube::RealPause pause_;
  host::SystemClock clock_;
  std::string kubeconfig_;
  kube::Access access_{""};
  std::unique_ptr<kube::Client> client_;
};

}  // namespace ullage::tests
