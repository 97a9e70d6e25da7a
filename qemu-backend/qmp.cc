// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/qmp.h"

#include <nlohmann/json.hpp>

#include "node-agent/host/text.h"

namespace ullage::qemu {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kAliasLimit = 64;

bool Letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// QEMU's id_wellformed(). Anything else could walk to another object.
bool WellFormed(std::string_view id) {
  if (id.empty() || id.size() > kAliasLimit || !Letter(id.front())) return false;
  for (const char c : id) {
    if (!Letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') return false;
  }
  return true;
}

Result<std::string> Command(const char* execute, std::string_view alias, const char* below,
                            const char* property) {
  if (!WellFormed(alias)) {
    return Error(Code::kInvalid,
                 "'" + host::Printable(alias, kAliasLimit) + "' is no device id of QEMU");
  }
  Json arguments = {{"path", "/machine/peripheral/" + std::string(alias) + below}};
  if (property != nullptr) arguments["property"] = property;
  return Json{{"execute", execute}, {"arguments", arguments}}.dump();
}

const Json* Find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

const Json* FindArray(const Json& object, const char* outer, const char* inner) {
  const Json* below = Find(object, outer);
  const Json* array = below == nullptr ? nullptr : Find(*below, inner);
  return array != nullptr && array->is_array() ? array : nullptr;
}

std::string Text(const Json* value) {
  const auto* text = value == nullptr ? nullptr : value->get_ptr<const std::string*>();
  return text == nullptr ? "" : *text;
}

Error FromQmp(const Json& error) {
  const std::string kind = Text(Find(error, "class"));
  const Code code = kind == "CommandNotFound"  ? Code::kNotFound
                    : kind == "DeviceNotFound" ? Code::kGone
                                               : Code::kInternal;
  return {code, "QEMU: " + host::Printable(kind + ": " + Text(Find(error, "desc")))};
}

// The "return" member of a reply.
Result<Json> Returned(std::string_view reply) {
  if (reply.size() > kQmpReplyLimit) {
    return Error(Code::kInvalid, "QMP reply longer than " + std::to_string(kQmpReplyLimit));
  }
  Json document = Json::parse(reply.begin(), reply.end(), nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Error(Code::kInvalid, "QMP reply is no JSON");
  if (const Json* error = Find(document, "error")) return FromQmp(*error);
  const auto found = document.is_object() ? document.find("return") : document.end();
  if (!document.is_object() || found == document.end()) {
    return Error(Code::kInvalid, "QMP reply has neither return nor error");
  }
  return Json(std::move(*found));
}

// Is there a string "NAME" or "NAME: explanation" in the array?
bool Contains(const Json& array, std::string_view name) {
  for (const Json& item : array) {
    const auto* text = item.get_ptr<const std::string*>();
    if (text == nullptr || !std::string_view(*text).starts_with(name)) continue;
    if (text->size() == name.size() || (*text)[name.size()] == ':') return true;
  }
  return false;
}

}  // namespace

Result<std::string> AskIfReportingIsOffered(std::string_view alias) {
  return Command("qom-get", alias, "", "free-page-reporting");
}

Result<std::string> AskVirtioStatus(std::string_view alias) {
  return Command("x-query-virtio-status", alias, "/virtio-backend", nullptr);
}

Result<bool> ParseQomBool(std::string_view reply) {
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  const auto* value = returned->get_ptr<const bool*>();
  if (value == nullptr) return Error(Code::kInvalid, "QMP reply is no boolean");
  return *value;
}

Result<VirtioStatus> ParseVirtioStatus(std::string_view reply) {
  constexpr std::string_view kReporting = "VIRTIO_BALLOON_F_REPORTING";
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  const Json* guest = FindArray(*returned, "guest-features", "dev-features");
  const Json* host = FindArray(*returned, "host-features", "dev-features");
  const Json* statuses = FindArray(*returned, "status", "statuses");
  if (guest == nullptr || statuses == nullptr) {
    return Error(Code::kInvalid, "QMP reply is no virtio status");
  }
  VirtioStatus status;
  if (host != nullptr) status.offered = Contains(*host, kReporting);
  status.reporting = Contains(*guest, kReporting);
  status.deflates = Contains(*guest, "VIRTIO_BALLOON_F_DEFLATE_ON_OOM");
  status.driver_ok = Contains(*statuses, "VIRTIO_CONFIG_S_DRIVER_OK");
  return status;
}

}  // namespace ullage::qemu
