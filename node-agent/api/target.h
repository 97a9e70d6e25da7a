// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace ullage::api {

/// Where the agent listens unless somebody says otherwise.
inline constexpr std::string_view kDefaultSocket = "/run/ullage/agent.sock";

/// sun_path holds this many bytes and its closing NUL.
inline constexpr std::size_t kSocketPathLimit = 107;

/// gRPC's name of a unix socket. gRPC reads it as a URI, so whatever a path may hold and a URI may
/// not goes in as %NN.
inline std::string UnixTarget(std::string_view path) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string target = "unix:";
  for (const char c : path) {
    if (kPlain.find(c) != std::string_view::npos) {
      target += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      target += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return target;
}

}  // namespace ullage::api
