// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "node-agent/kube/objects.pb.h"
#include "node-agent/model/result.h"

namespace ullage::kube {

/// Reads JSON into a message by protobuf's JSON mapping. Unknown fields are passed over; a field of
/// another type than the message's, and text that is no JSON, are kInvalid.
Status ReadJsonInto(std::string_view text, google::protobuf::Message& message);

template <typename M>
Result<M> ReadJson(std::string_view text) {
  M message;
  if (auto read = ReadJsonInto(text, message); !read) return read.error();
  return message;
}

/// Fields that hold their default are left out.
Result<std::string> WriteJson(const google::protobuf::Message& message);

/// A list as its items, each as JSON of its own: for when one of them keeps the whole from being
/// read.
struct SplitList {
  k8s::ListMeta metadata;
  std::vector<std::string> items;
};
Result<SplitList> SplitItems(std::string_view list);

/// A JSON patch (RFC 6902).
class JsonPatch {
 public:
  /// `path` is made of the pieces, each escaped ("/" is "~1"): {"status", "capacity", "a.b/c"}.
  JsonPatch& Add(const std::vector<std::string>& path, std::string_view value);
  JsonPatch& Remove(const std::vector<std::string>& path);
  /// The patch fails (kInvalid) where this is not so.
  JsonPatch& Test(const std::vector<std::string>& path, std::string_view value);

  std::string Text() const { return "[" + operations_ + "]"; }

 private:
  JsonPatch& Append(std::string_view operation, const std::vector<std::string>& path,
                    const std::string_view* value);
  std::string operations_;
};

}  // namespace ullage::kube
