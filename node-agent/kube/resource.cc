// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/resource.h"

#include "node-agent/host/text.h"

namespace ullage::kube {
namespace {

bool IsUnreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// What the API server itself refuses as a name (its IsValidPathSegmentName), and nothing at all
// where a slash would follow.
bool IsPathPiece(std::string_view name) {
  return name != "." && name != ".." && name.find_first_of("/%") == std::string_view::npos;
}

}  // namespace

std::string PercentEncode(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (IsUnreserved(c)) {
      out += c;
      continue;
    }
    const auto value = static_cast<unsigned char>(c);
    out += {'%', kHex[value >> 4], kHex[value & 15]};
  }
  return out;
}

std::string GroupPath(const Resource& resource) {
  std::string path = resource.group.empty() ? "/api" : "/apis/" + std::string(resource.group);
  return path.append("/").append(resource.version);
}

Result<std::string> PathOf(const ObjectRef& ref) {
  for (const std::string* piece : {&ref.name_space, &ref.name, &ref.subresource}) {
    if (!IsPathPiece(*piece)) {
      return Error(Code::kInvalid, "'" + host::Printable(*piece) + "' is no name of an object");
    }
  }
  if (ref.name.empty() && !ref.subresource.empty()) {
    return Error(Code::kInvalid, "a subresource of no object");
  }
  std::string path = GroupPath(ref.resource);
  if (!ref.name_space.empty()) path += "/namespaces/" + PercentEncode(ref.name_space);
  path.append("/").append(ref.resource.plural);
  if (!ref.name.empty()) path += "/" + PercentEncode(ref.name);
  if (!ref.subresource.empty()) path += "/" + PercentEncode(ref.subresource);
  return path;
}

}  // namespace ullage::kube
