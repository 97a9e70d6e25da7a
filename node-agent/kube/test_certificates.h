// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace ullage::kube {

/// For tests: a certificate and its key, in PEM.
struct Identity {
  std::string certificate;
  std::string key;
};

/// For tests: a CA that lives as long as its object.
class Authority {
 public:
  explicit Authority(const std::string& name);
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;
  ~Authority();

  std::string certificate() const;
  /// `alternative`: "IP:127.0.0.1", "DNS:a". `days`: until it expires; negative: it has.
  Identity Issue(const std::string& name, const std::string& alternative, int days = 1) const;

 private:
  EVP_PKEY* key_;
  X509* certificate_;
};

using ContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
ContextPtr MakeServerContext(const Identity& identity, const std::string& client_ca);

}  // namespace ullage::kube
