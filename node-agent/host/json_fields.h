// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "node-agent/model/bytes.h"

/// Fields of a file of our own that somebody else may have written: nlohmann's get<>() throws on a
/// wrong type, and these say absent. `object` may be no object.
namespace ullage::host {

inline std::optional<std::string> Text(const nlohmann::json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  if (at == object.end() || !at->is_string()) return std::nullopt;
  return at->get<std::string>();
}

inline std::optional<std::uint64_t> Count(const nlohmann::json& object, const char* key) {
  const auto at = object.is_object() ? object.find(key) : object.end();
  if (at == object.end() || !at->is_number_unsigned()) return std::nullopt;
  return at->get<std::uint64_t>();
}

/// At most Bytes::Max().
inline std::optional<std::int64_t> Number(const nlohmann::json& object, const char* key) {
  const auto count = Count(object, key);
  if (!count || *count > static_cast<std::uint64_t>(Bytes::Max().count())) return std::nullopt;
  return static_cast<std::int64_t>(*count);
}

}  // namespace ullage::host
