// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "node-agent/model/result.h"

namespace ullage::kube {

/// Larger than any bundle of CAs that a cluster has.
inline constexpr std::size_t kMaxCredentialBytes = std::size_t{1} << 20;

/// A certificate, key or token: as it is, or where it lies.
struct Secret {
  std::string text{};
  std::string file{};  ///< read where `text` is empty

  bool empty() const { return text.empty() && file.empty(); }
};

/// How to reach an API server and how to show who we are.
struct Access {
  std::string server;  ///< "https://HOST:PORT", with the path where there is one
  Secret ca{};         ///< PEM; empty: the system's CAs
  Secret certificate{};
  Secret key{};
  Secret token{};
};

/// What the kubelet puts into a pod.
struct PodEnvironment {
  std::string host;    ///< KUBERNETES_SERVICE_HOST
  std::string port;    ///< KUBERNETES_SERVICE_PORT
  std::string folder;  ///< token, ca.crt

  static PodEnvironment OfThisProcess();
};

/// The access of a pod's service account. kNotFound: this is no pod (no such environment).
Result<Access> InCluster(const PodEnvironment& pod);

struct TlsMaterial {
  std::string ca;
  std::string certificate;
  std::string key;
};

/// Reads secrets anew whenever they are asked for, so that a rotated one is used from the next
/// call (token) and the next connection (certificates) on. Thread-safe: it remembers nothing.
class Credentials {
 public:
  explicit Credentials(Access access) : access_(std::move(access)) {}

  const std::string& server() const { return access_.server; }
  /// Empty: there is none. kInvalid: it cannot stand in a header.
  Result<std::string> Token() const;
  Result<TlsMaterial> Tls() const;

 private:
  Access access_;
};

}  // namespace ullage::kube
