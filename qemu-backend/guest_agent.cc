// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/guest_agent.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "node-agent/host/text.h"

namespace ullage::qemu {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::int64_t kBalloonPage = 4096;  // virtio 1.2, 5.5.6: whatever the guest's page is

std::string Encode(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](std::size_t k) {
      return k < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[k])) : 0U;
    };
    const unsigned group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    text += kDigits[group >> 18 & 63];
    text += kDigits[group >> 12 & 63];
    text += i + 1 < bytes.size() ? kDigits[group >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? kDigits[group & 63] : '=';
  }
  return text;
}

// RFC 4648, 4. Absent: it is none. Bits that belong to no byte may be anything.
std::optional<std::string> Decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0;
  int held = 0;
  for (const char c : text) {
    const auto digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = (bits << 6 | static_cast<unsigned>(digit)) & 0xFFFF;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xFF);
  }
  return bytes;
}

std::string Command(const char* execute, const Json& arguments) {
  return Json{{"execute", execute}, {"arguments", arguments}}.dump();
}

const Json* Find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

Error NoReply(const char* what) {
  return {Code::kInvalid, std::string("the guest agent's reply ") + what};
}

// The "return" member of a reply.
Result<Json> Returned(std::string_view reply) {
  if (reply.size() > kGuestReplyLimit) return NoReply("is too long");
  bool deep = false;
  const auto watch = [&deep](int depth, Json::parse_event_t, const Json&) {
    deep = deep || depth > kGuestReplyDepth;
    return !deep;
  };
  Json document = Json::parse(reply.begin(), reply.end(), watch, /*allow_exceptions=*/false);
  if (deep) return NoReply("is nested too deeply");
  if (!document.is_object()) return NoReply("is no JSON object");
  if (const Json* error = Find(document, "error")) {
    const Json* text = Find(*error, "desc");
    const auto* words = text == nullptr ? nullptr : text->get_ptr<const std::string*>();
    return Error(Code::kInternal,
                 "guest agent: " + host::Printable(words == nullptr ? "an error" : *words));
  }
  const auto found = document.find("return");
  if (found == document.end()) return NoReply("has neither return nor error");
  return Json(std::move(*found));
}

Result<std::int64_t> Number(const Json* value, const char* what) {
  if (value == nullptr || !value->is_number_integer()) return NoReply(what);
  if (value->is_number_unsigned() &&
      value->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return NoReply(what);
  }
  const auto number = value->get<std::int64_t>();
  if (number < 0) return NoReply(what);
  return number;
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kGuestNameLimit &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

Bytes Saturated(std::uint64_t count, std::int64_t unit) {
  std::int64_t bytes = 0;
  return __builtin_mul_overflow(count, unit, &bytes) ? Bytes::Max() : Bytes(bytes);
}

// False: it is no counter of ours, or one too many.
bool Take(GuestModule& module, std::string_view name, std::uint64_t value) {
  if (name == "reporting") {
    module.reporting = value != 0;
  } else if (name == "reported_bytes") {
    module.reported = Saturated(value, 1);
  } else if (name == "report_errors") {
    module.report_errors = value;
  } else if (name == "balloon_pages") {
    module.balloon = Saturated(value, kBalloonPage);
  } else if (module.other.size() < kGuestCounters) {
    module.other.insert_or_assign(std::string(name), value);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string AskOpen(std::string_view path, const char* mode) {
  return Command("guest-file-open", {{"path", std::string(path)}, {"mode", mode}});
}

std::string AskRead(std::int64_t handle) {
  return Command("guest-file-read", {{"handle", handle}, {"count", kGuestFileLimit + 1}});
}

std::string AskWrite(std::int64_t handle, std::string_view content) {
  return Command("guest-file-write", {{"handle", handle}, {"buf-b64", Encode(content)}});
}

std::string AskClose(std::int64_t handle) {
  return Command("guest-file-close", {{"handle", handle}});
}

Result<std::int64_t> ParseHandle(std::string_view reply) {
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  return Number(&*returned, "has no handle");
}

Result<std::string> ParseContent(std::string_view reply) {
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  const Json* text = Find(*returned, "buf-b64");
  const auto* coded = text == nullptr ? nullptr : text->get_ptr<const std::string*>();
  if (coded == nullptr) return NoReply("has no content");
  auto content = Decode(*coded);
  if (!content) return NoReply("has a content that is no base64");
  if (content->size() > kGuestFileLimit) return NoReply("has a content that is too long");
  return std::move(*content);
}

Result<std::int64_t> ParseCount(std::string_view reply) {
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  return Number(Find(*returned, "count"), "has no count");
}

Status ParseEmpty(std::string_view reply) {
  const auto returned = Returned(reply);
  if (!returned) return returned.error();
  return Ok();
}

Result<GuestModule> ParseSummary(std::string_view text, std::uint64_t& refused) {
  GuestModule module;
  bool any = false;
  while (!text.empty()) {
    std::string_view value = host::TakeUntil(text, '\n');
    const std::string_view name = host::TakeUntil(value, ' ');
    const auto number = host::ParseUnsigned(value);
    if (IsName(name) && number && Take(module, name, *number)) {
      any = true;
    } else {
      ++refused;
    }
  }
  if (!any) return Error(Code::kInvalid, "the driver's summary has no counter");
  return module;
}

}  // namespace ullage::qemu
