// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/base64.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace ullage::kube {

std::optional<std::string> DecodeBase64(std::string_view text) {
  std::string packed;
  std::copy_if(text.begin(), text.end(), std::back_inserter(packed),
               [](char c) { return c != '\n' && c != '\r' && c != ' '; });
  if (packed.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = packed.ends_with("==") ? 2 : packed.ends_with('=') ? 1 : 0;
  // OpenSSL takes "=" anywhere for a zero.
  if (packed.find('=') < packed.size() - padding) return std::nullopt;
  std::string out(packed.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(packed.data()),
                                     static_cast<int>(packed.size()));
  if (length < 0 || static_cast<std::size_t>(length) != out.size()) return std::nullopt;
  out.resize(out.size() - padding);
  return out;
}

}  // namespace ullage::kube
