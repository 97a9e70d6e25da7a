// SPDX-License-Identifier: Apache-2.0
// Any bytes as QEMU's reply, and as the name of its device.
#include "qemu-backend/qmp.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

template <typename T>
void Reply(const Result<T>& result) {
  if (!result) Require(IsShowable(result.error().message()), "an error can be shown");
}

void Question(const Result<std::string>& command, std::string_view alias, const std::string& path) {
  if (!command) return Reply(command);
  const auto asked = nlohmann::json::parse(*command, nullptr, false);
  Require(asked.is_object() && asked["arguments"]["path"] == path, "the question is JSON");
  Require(alias.find('/') == std::string_view::npos, "an alias leads nowhere else");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // Longer than what libFuzzer comes up with: nesting that a recursive reader would die of.
  using namespace ullage::qemu;
  for (const char* piece : {"[", "{\"return\":", "{\"error\":["}) {
    std::string deep;
    while (deep.size() + 16 < kQmpReplyLimit) deep += piece;
    ullage::fuzz::Reply(ParseQomBool(deep));
    ullage::fuzz::Reply(ParseVirtioStatus(deep));
  }
  const std::string half = "{\"return\":" + std::string(kQmpReplyLimit / 2 - 16, '[');
  const std::string nested = half + std::string(half.size() - 10, ']') + "}";
  ullage::fuzz::Require(!ParseQomBool(nested) && !ParseVirtioStatus(nested), "no answer, no crash");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  const std::string_view text = fuzz::View(data, size);
  fuzz::Reply(qemu::ParseQomBool(text));
  fuzz::Reply(qemu::ParseVirtioStatus(text));
  const std::string path = "/machine/peripheral/" + std::string(text);
  fuzz::Question(qemu::AskIfReportingIsOffered(text), text, path);
  fuzz::Question(qemu::AskVirtioStatus(text), text, path + "/virtio-backend");
  return 0;
}
