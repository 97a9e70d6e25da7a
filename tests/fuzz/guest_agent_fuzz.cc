// SPDX-License-Identifier: Apache-2.0
// Any bytes as a guest agent's reply, and as our driver's summary in a guest.
#include "qemu-backend/guest_agent.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

template <typename T>
void Showable(const Result<T>& result) {
  if (!result) Require(IsShowable(result.error().message()), "an error can be shown");
}

void Replies(std::string_view text) {
  using namespace ullage::qemu;
  const auto handle = ParseHandle(text);
  Showable(handle);
  if (handle) Require(*handle >= 0, "a handle is a count");
  const auto content = ParseContent(text);
  Showable(content);
  if (content) Require(content->size() <= kGuestFileLimit, "a file is bounded");
  const auto count = ParseCount(text);
  Showable(count);
  Showable(ParseEmpty(text));
}

void Summary(std::string_view text) {
  using namespace ullage::qemu;
  std::uint64_t refused = 0;
  const auto module = ParseSummary(text, refused);
  Require(refused <= text.size(), "no more is refused than there is");
  if (!module) return Showable(module);
  Require(module->other.size() <= kGuestCounters, "counters are bounded");
  for (const auto& [name, value] : module->other) {
    Require(IsShowable(name) && name.size() <= kGuestNameLimit, "a name can be shown");
  }
  Require(!module->reported || *module->reported >= Bytes(), "sizes saturate");
  Require(!module->balloon || *module->balloon >= Bytes(), "sizes saturate");
}

// What goes into base64 comes out again.
void RoundTrip(std::string_view text) {
  using namespace ullage::qemu;
  if (text.size() > kGuestFileLimit) return;
  const auto asked = nlohmann::json::parse(AskWrite(1, text), nullptr, false);
  Require(asked.is_object(), "a question is JSON");
  const nlohmann::json reply = {{"return", {{"buf-b64", asked["arguments"]["buf-b64"]}}}};
  const auto back = ParseContent(reply.dump());
  Require(back && *back == text, "what is written is what is read");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // Longer than what libFuzzer comes up with: nesting that a recursive reader would die of.
  for (const char* piece : {"[", "{\"return\":", "{\"error\":["}) {
    std::string deep;
    while (deep.size() + 16 < ullage::qemu::kGuestReplyLimit) deep += piece;
    ullage::fuzz::Replies(deep);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = ullage::fuzz::View(data, size);
  ullage::fuzz::Replies(text);
  ullage::fuzz::Summary(text);
  ullage::fuzz::RoundTrip(text);
  for (const auto& parameter : ullage::kGuestParameters) {
    const auto value = ullage::Canonical(parameter, text);
    if (value) ullage::fuzz::Require(ullage::Canonical(parameter, *value) == value, "stable");
  }
  return 0;
}
