// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/yaml_section.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>

#include "node-agent/host/text.h"

namespace ullage::agent {

struct Section::State {
  std::optional<Error> error;
};

namespace {

Error At(const YAML::Mark& mark, const std::string& what) {
  const std::string line = mark.is_null() ? "" : std::to_string(mark.line + 1) + ": ";
  return {Code::kInvalid, line + what};
}

template <typename T>
std::string Show(T value) {
  std::ostringstream out;
  if constexpr (std::is_same_v<T, Bytes>) {
    out << value.count() << " bytes";
  } else if constexpr (std::is_same_v<T, Permyriad>) {
    out << static_cast<double>(value.value) / 100 << "%";
  } else {
    out << value.count() << "ms";
  }
  return out.str();
}

}  // namespace

Section::Section(std::shared_ptr<State> state, std::shared_ptr<YAML::Node> node, std::string path)
    : state_(std::move(state)), node_(std::move(node)), path_(std::move(path)) {}

void Section::Fail(const YAML::Node& at, const std::string& key, const std::string& what) {
  if (!state_->error) state_->error = At(at.Mark(), path_ + key + ": " + what);
}

std::optional<YAML::Node> Section::Take(const char* key) {
  asked_.emplace_back(key);
  if (state_->error || !node_) return std::nullopt;
  YAML::Node found;
  bool seen = false;
  for (const auto& entry : *node_) {
    if (!entry.first.IsScalar() || entry.first.Scalar() != key) continue;
    if (seen) {
      Fail(entry.first, key, "stands twice");
      return std::nullopt;
    }
    seen = true;
    found.reset(entry.second);
  }
  if (!seen || found.IsNull()) return std::nullopt;
  return found;
}

std::optional<std::string> Section::Scalar(const char* key) {
  const auto node = Take(key);
  if (!node) return std::nullopt;
  if (!node->IsScalar()) {
    Fail(*node, key, "one value is wanted, not a list or a mapping");
    return std::nullopt;
  }
  return node->Scalar();
}

void Section::Text(const char* key, std::string& field) {
  if (auto text = Scalar(key)) field = std::move(*text);
}

void Section::AbsolutePathOrNone(const char* key, std::string& field) {
  const auto text = Scalar(key);
  if (!text) return;
  if (!text->empty() && !text->starts_with('/')) {
    return Fail((*node_)[key], key, "an absolute path is wanted, not \"" + *text + "\"");
  }
  field = *text;
}

void Section::AbsolutePath(const char* key, std::string& field) {
  std::string path = field;
  AbsolutePathOrNone(key, path);
  if (path.empty()) return Fail((*node_)[key], key, "an absolute path is wanted, not \"\"");
  field = std::move(path);
}

void Section::Size(const char* key, Bytes& field, Bytes low, Bytes high) {
  const auto text = Scalar(key);
  if (!text) return;
  const auto size = ParseSize(*text);
  if (!size) return Fail((*node_)[key], key, "a size like 512MiB is wanted, not \"" + *text + "\"");
  if (*size < low || *size > high) {
    return Fail((*node_)[key], key, "must lie from " + Show(low) + " to " + Show(high));
  }
  field = *size;
}

void Section::Share(const char* key, Permyriad& field, Permyriad low, Permyriad high) {
  const auto text = Scalar(key);
  if (!text) return;
  const auto share = ParseShare(*text);
  if (!share) return Fail((*node_)[key], key, "a share like 10% is wanted, not \"" + *text + "\"");
  if (*share < low || *share > high) {
    return Fail((*node_)[key], key, "must lie from " + Show(low) + " to " + Show(high));
  }
  field = *share;
}

void Section::Milliseconds(const char* key, milliseconds& field, milliseconds low,
                           milliseconds high, milliseconds unit) {
  const auto text = Scalar(key);
  if (!text) return;
  const auto value = ParseDuration(*text);
  if (!value) {
    return Fail((*node_)[key], key, "a time like 500ms, 2s or 5m is wanted, not \"" + *text + "\"");
  }
  if (*value < low || *value > high) {
    return Fail((*node_)[key], key, "must lie from " + Show(low) + " to " + Show(high));
  }
  if (*value % unit != milliseconds(0)) return Fail((*node_)[key], key, "whole seconds are wanted");
  field = *value;
}

std::optional<std::size_t> Section::Choice(const char* key, const std::vector<std::string>& names) {
  const auto text = Scalar(key);
  if (!text) return std::nullopt;
  const auto at = std::find(names.begin(), names.end(), *text);
  if (at != names.end()) return static_cast<std::size_t>(at - names.begin());
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  Fail((*node_)[key], key, "one of " + all + " is wanted, not \"" + *text + "\"");
  return std::nullopt;
}

std::optional<std::string> Section::Converted(
    const char* key, const std::string& wanted,
    const std::function<std::optional<std::string>(std::string_view)>& convert) {
  const auto text = Scalar(key);
  if (!text) return std::nullopt;
  auto value = convert(*text);
  if (!value) Fail((*node_)[key], key, wanted + " is wanted, not \"" + *text + "\"");
  return value;
}

Section Section::Below(const char* key) {
  const auto node = Take(key);
  if (node && !node->IsMap()) Fail(*node, key, "a mapping of keys is wanted");
  const bool usable = node && node->IsMap();
  return {state_, usable ? std::make_shared<YAML::Node>(*node) : nullptr, path_ + key + "."};
}

void Section::End() {
  if (state_->error || !node_) return;
  for (const auto& entry : *node_) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "(no plain key)";
    if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
      std::string known;
      for (const std::string& name : asked_) known += (known.empty() ? "" : ", ") + name;
      return Fail(entry.first, key, "unknown key; known here: " + known);
    }
  }
}

Status ReadYaml(std::string_view text, const std::function<void(Section)>& read) {
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    if (!root.IsMap() && !root.IsNull()) return At(root.Mark(), "a mapping of keys is wanted");
    auto state = std::make_shared<Section::State>();
    read(Section(state, root.IsMap() ? std::make_shared<YAML::Node>(root) : nullptr, ""));
    if (state->error) return *state->error;
    return Ok();
  } catch (const YAML::Exception& error) {
    return At(error.mark, error.msg);
  }
}

}  // namespace ullage::agent
