// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/host/units.h"
#include "node-agent/model/bytes.h"
#include "node-agent/model/result.h"
#include "node-agent/model/time.h"

namespace YAML {
class Node;
}

namespace ullage::agent {

/// One mapping of a YAML file, read key by key into typed fields that hold their defaults. The
/// first mistake is kept with its line and everything after it is skipped, so that reading code is
/// a plain list of keys.
class Section {
 public:
  void Text(const char* key, std::string& field);
  void AbsolutePath(const char* key, std::string& field);
  /// The same, or empty: none.
  void AbsolutePathOrNone(const char* key, std::string& field);
  /// "512MiB", "1GiB", "4096" (bytes).
  void Size(const char* key, Bytes& field, Bytes low, Bytes high);
  /// "10%", "2.5%".
  void Share(const char* key, Permyriad& field, Permyriad low, Permyriad high);
  /// "250ms", "1s", "5m", "1h".
  template <typename D>
  void Duration(const char* key, D& field, D low, D high) {
    milliseconds value = std::chrono::duration_cast<milliseconds>(field);
    Milliseconds(key, value, low, high, std::chrono::duration_cast<milliseconds>(D(1)));
    field = std::chrono::duration_cast<D>(value);
  }
  /// One of the given values, by Name() or as it stands.
  template <typename T>
  void OneOf(const char* key, T& field, std::initializer_list<T> values) {
    std::vector<std::string> names;
    for (const T& value : values) names.emplace_back(Name(value));
    if (const auto index = Choice(key, names)) field = *(values.begin() + *index);
  }
  void OneOf(const char* key, std::string& field, std::initializer_list<const char*> values) {
    const std::vector<std::string> names(values.begin(), values.end());
    if (const auto index = Choice(key, names)) field = names[*index];
  }
  /// What `convert` makes of the text, which says nothing to what is not `wanted`. Absent where
  /// there is no such key.
  std::optional<std::string> Converted(
      const char* key, const std::string& wanted,
      const std::function<std::optional<std::string>(std::string_view)>& convert);
  /// The mapping under `key`; empty when there is none.
  Section Below(const char* key);
  /// Whatever was not asked for by now is a mistake.
  void End();

 private:
  friend Status ReadYaml(std::string_view text, const std::function<void(Section)>& read);
  struct State;
  Section(std::shared_ptr<State> state, std::shared_ptr<YAML::Node> node, std::string path);

  void Milliseconds(const char* key, milliseconds& field, milliseconds low, milliseconds high,
                    milliseconds unit);
  std::optional<std::size_t> Choice(const char* key, const std::vector<std::string>& names);
  std::optional<std::string> Scalar(const char* key);
  std::optional<YAML::Node> Take(const char* key);
  void Fail(const YAML::Node& at, const std::string& key, const std::string& what);

  std::shared_ptr<State> state_;
  std::shared_ptr<YAML::Node> node_;
  std::string path_;  // "policy." for messages
  std::vector<std::string> asked_;
};

/// Parses `text` and lets `read` take it apart; an empty text is an empty mapping. yaml-cpp's
/// exceptions end here. kInvalid, with the line.
Status ReadYaml(std::string_view text, const std::function<void(Section)>& read);

using host::ParseDuration;
using host::ParseShare;
using host::ParseSize;

}  // namespace ullage::agent
