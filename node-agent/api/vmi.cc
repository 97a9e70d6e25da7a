// SPDX-License-Identifier: Apache-2.0
#include "node-agent/api/vmi.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "node-agent/host/text.h"

namespace ullage::api {
namespace {

constexpr std::size_t kMaxNamespace = 63;  // an RFC 1123 label
constexpr std::size_t kMaxName = 253;      // an RFC 1123 subdomain
constexpr std::size_t kMaxUid = 64;        // a UUID today

bool IsLower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }
bool IsNamespaces(char c) { return IsLower(c); }
bool IsNames(char c) { return IsLower(c) || c == '.'; }
bool IsUids(char c) { return IsLower(c) || (c >= 'A' && c <= 'Z'); }

Status Check(const char* what, const std::string& value, std::size_t limit, bool (*allowed)(char)) {
  if (!value.empty() && value.size() <= limit && std::all_of(value.begin(), value.end(), allowed)) {
    return Ok();
  }
  return Error(Code::kInvalid, std::string("its ") + what + " is '" + host::Printable(value, 64) +
                                   "', which Kubernetes gives to nothing");
}

}  // namespace

Result<hooks::Vmi> ParseVmi(std::string_view json) {
  if (json.size() > kVmiLimit) {
    return Error(Code::kInvalid, "VMI: longer than " + std::to_string(kVmiLimit) + " bytes");
  }
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  hooks::Vmi vmi;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &vmi, options);
  if (!parsed.ok()) {
    const std::string message(parsed.message().data(), parsed.message().size());
    return Error(Code::kInvalid, "VMI: " + host::Printable(message));
  }
  const auto& metadata = vmi.metadata();
  for (const Status& good : {Check("namespace", metadata.space(), kMaxNamespace, IsNamespaces),
                             Check("name", metadata.name(), kMaxName, IsNames),
                             Check("UID", metadata.uid(), kMaxUid, IsUids)}) {
    if (!good) return good.error().In("VMI");
  }
  return vmi;
}

std::string Name(const hooks::Vmi& vmi) {
  return vmi.metadata().space() + '/' + vmi.metadata().name();
}

}  // namespace ullage::api
