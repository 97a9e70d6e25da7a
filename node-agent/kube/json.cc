// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/json.h"

#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>

#include "node-agent/host/text.h"

namespace ullage::kube {
namespace {

constexpr std::size_t kShownReason = 256;

// RFC 6901.
std::string Pointer(const std::vector<std::string>& path) {
  std::string pointer;
  for (const std::string& piece : path) {
    pointer += '/';
    for (const char c : piece) {
      if (c == '~') {
        pointer += "~0";
      } else if (c == '/') {
        pointer += "~1";
      } else {
        pointer += c;
      }
    }
  }
  return pointer;
}

// Bytes that are no UTF-8 are replaced: this never throws.
std::string Quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Status ReadJsonInto(std::string_view text, google::protobuf::Message& message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(text.data(), text.size()), &message, options);
  if (status.ok()) return Ok();
  return Error(
      Code::kInvalid,
      "not a " + message.GetDescriptor()->name() + ": " +
          host::Printable({status.message().data(), status.message().size()}, kShownReason));
}

Result<std::string> WriteJson(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (status.ok()) return text;
  return Error(
      Code::kInvalid,
      "writing a " + message.GetDescriptor()->name() + ": " +
          host::Printable({status.message().data(), status.message().size()}, kShownReason));
}

Result<SplitList> SplitItems(std::string_view list) {
  const auto json = nlohmann::json::parse(list, nullptr, false);
  if (!json.is_object()) return Error(Code::kInvalid, "a list that is no JSON object");
  const auto dump = [](const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  SplitList split;
  if (const auto meta = json.find("metadata"); meta != json.end()) {
    if (auto read = ReadJsonInto(dump(*meta), split.metadata); !read) return read.error();
  }
  const auto items = json.find("items");
  if (items == json.end() || items->is_null()) return split;
  if (!items->is_array()) return Error(Code::kInvalid, "a list whose items are none");
  for (const auto& item : *items) split.items.push_back(dump(item));
  return split;
}

JsonPatch& JsonPatch::Append(std::string_view operation, const std::vector<std::string>& path,
                             const std::string_view* value) {
  if (!operations_.empty()) operations_ += ',';
  operations_ += "{\"op\":" + Quoted(operation) + ",\"path\":" + Quoted(Pointer(path));
  if (value != nullptr) operations_ += ",\"value\":" + Quoted(*value);
  operations_ += '}';
  return *this;
}

JsonPatch& JsonPatch::Add(const std::vector<std::string>& path, std::string_view value) {
  return Append("add", path, &value);
}

JsonPatch& JsonPatch::Remove(const std::vector<std::string>& path) {
  return Append("remove", path, nullptr);
}

JsonPatch& JsonPatch::Test(const std::vector<std::string>& path, std::string_view value) {
  return Append("test", path, &value);
}

}  // namespace ullage::kube
