// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/test_certificates.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>

namespace ullage::kube {
namespace {

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

void Must(bool holds) {
  if (!holds) std::abort();
}

std::string Content(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string ToPem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()), BIO_free);
  Must(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return Content(bio.get());
}

std::string ToPem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()), BIO_free);
  Must(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return Content(bio.get());
}

BioPtr FromPem(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free};
}

void Extend(X509* certificate, int what, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str());
  Must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Unsigned. Valid from ten days ago.
X509* Draft(const std::string& name, EVP_PKEY* key, int days) {
  static long serial = 1;
  X509* certificate = X509_new();
  Must(certificate != nullptr);
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  constexpr long kDay = 86400;
  X509_gmtime_adj(X509_getm_notBefore(certificate), -10 * kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate), days * kDay);
  X509_set_pubkey(certificate, key);
  const auto* text = reinterpret_cast<const unsigned char*>(name.c_str());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, text, -1, -1,
                             0);
  return certificate;
}

}  // namespace

Authority::Authority(const std::string& name)
    : key_(EVP_EC_gen("P-256")), certificate_(Draft(name, key_, 1)) {
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  Extend(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  Must(X509_sign(certificate_, key_, EVP_sha256()) > 0);
}

Authority::~Authority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

std::string Authority::certificate() const { return ToPem(certificate_); }

Identity Authority::Issue(const std::string& name, const std::string& alternative, int days) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = Draft(name, key, days);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate_));
  Extend(certificate, NID_subject_alt_name, alternative);
  Must(X509_sign(certificate, key_, EVP_sha256()) > 0);
  Identity identity{ToPem(certificate), ToPem(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

ContextPtr MakeServerContext(const Identity& identity, const std::string& client_ca) {
  ContextPtr context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  X509* certificate =
      PEM_read_bio_X509(FromPem(identity.certificate).get(), nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(FromPem(identity.key).get(), nullptr, nullptr, nullptr);
  Must(SSL_CTX_use_certificate(context.get(), certificate) == 1);
  Must(SSL_CTX_use_PrivateKey(context.get(), key) == 1);
  X509_free(certificate);
  EVP_PKEY_free(key);
  if (client_ca.empty()) return context;
  X509* ca = PEM_read_bio_X509(FromPem(client_ca).get(), nullptr, nullptr, nullptr);
  Must(X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca) == 1);
  X509_free(ca);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

}  // namespace ullage::kube
