// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/credentials.h"

#include <algorithm>
#include <cstdlib>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"

namespace ullage::kube {
namespace {

// Where the kubelet mounts a service account; the same in each pod.
constexpr const char* kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> Read(const Secret& secret, const char* what) {
  if (!secret.text.empty() || secret.file.empty()) return secret.text;
  auto text = host::ReadFile(secret.file, kMaxCredentialBytes);
  if (!text) {
    // kGone is the API server's word for an expired version.
    const bool missing = text.error().code() == Code::kGone;
    return Error(missing ? Code::kNotFound : text.error().code(), text.error().message())
        .In(std::string("reading the ") + what);
  }
  if (text->empty()) {
    return Error(Code::kInvalid,
                 std::string("the ") + what + " in " + host::Printable(secret.file) + " is empty");
  }
  return text;
}

}  // namespace

PodEnvironment PodEnvironment::OfThisProcess() {
  return {FromEnvironment("KUBERNETES_SERVICE_HOST"), FromEnvironment("KUBERNETES_SERVICE_PORT"),
          kServiceAccount};
}

Result<Access> InCluster(const PodEnvironment& pod) {
  if (pod.host.empty() || pod.port.empty()) {
    return Error(Code::kNotFound,
                 "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  const auto port = host::ParseUnsigned(pod.port);
  if (!port || *port == 0 || *port > 65535) {
    return Error(Code::kInvalid,
                 "KUBERNETES_SERVICE_PORT: '" + host::Printable(pod.port) + "' is no port");
  }
  const bool ipv6 = pod.host.find(':') != std::string::npos;
  Access access;
  access.server = "https://" + (ipv6 ? "[" + pod.host + "]" : pod.host) + ":" + pod.port;
  access.ca.file = pod.folder + "/ca.crt";
  access.token.file = pod.folder + "/token";
  return access;
}

Result<std::string> Credentials::Token() const {
  auto token = Read(access_.token, "token");
  if (!token) return token;
  while (!token->empty() && (token->back() == '\n' || token->back() == '\r')) token->pop_back();
  // RFC 6750 has fewer characters than this; more would end the header.
  const bool sound =
      std::all_of(token->begin(), token->end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!sound) return Error(Code::kInvalid, "the token holds characters that no token has");
  return token;
}

Result<TlsMaterial> Credentials::Tls() const {
  auto ca = Read(access_.ca, "cluster's CA");
  if (!ca) return ca.error();
  auto certificate = Read(access_.certificate, "client certificate");
  if (!certificate) return certificate.error();
  auto key = Read(access_.key, "client key");
  if (!key) return key.error();
  return TlsMaterial{*std::move(ca), *std::move(certificate), *std::move(key)};
}

}  // namespace ullage::kube
