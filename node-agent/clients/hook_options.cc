// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "node-agent/api/target.h"
#include "node-agent/clients/hook.h"
#include "node-agent/host/file.h"
#include "node-agent/host/text.h"

namespace ullage::clients {
namespace {

constexpr std::size_t kConfigLimit = std::size_t{64} << 10;
constexpr std::uint64_t kMaxWaitSeconds = 600;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

Status Set(HookOptions& options, std::string_view key, std::string_view value) {
  if (key == "socket") {
    if (value.empty() || value.front() != '/') {
      return Error(Code::kInvalid, "socket must be an absolute path");
    }
    options.socket = std::string(value);
    return Ok();
  }
  if (key == "wait") {
    const auto wait = host::ParseUnsigned(value);
    if (!wait || *wait > kMaxWaitSeconds) {
      return Error(Code::kInvalid, "wait must be 0 to 600, in seconds");
    }
    options.wait = seconds(static_cast<std::int64_t>(*wait));
    return Ok();
  }
  return Error(Code::kInvalid,
               "unknown key '" + host::Printable(key, 64) + "' (there are socket and wait)");
}

Status ReadLines(std::string_view text, const std::string& path, HookOptions& options) {
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = Trim(host::TakeUntil(text, '\n'));
    if (line.empty() || line.front() == '#') continue;
    std::string_view value = line;
    const std::string_view key = Trim(host::TakeUntil(value, '='));
    const Status set = Set(options, key, Trim(value));
    if (!set) return set.error().In(path + ":" + std::to_string(number));
  }
  return Ok();
}

Status ReadEnvironment(const char* name, const char* key, HookOptions& options) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return Ok();
  return Set(options, key, value).In(name);
}

}  // namespace

Result<HookOptions> ReadHookOptions(const std::string& config_path) {
  HookOptions options;
  options.socket = api::kDefaultSocket;
  const Result<std::string> text = host::ReadFile(config_path, kConfigLimit);
  if (!text && text.error().code() != Code::kGone && text.error().code() != Code::kNotFound) {
    return text.error();
  }
  if (text) {
    const Status read = ReadLines(*text, config_path, options);
    if (!read) return read.error();
  }
  const Status socket = ReadEnvironment("ULLAGE_SOCKET", "socket", options);
  if (!socket) return socket.error();
  const Status wait = ReadEnvironment("ULLAGE_HOOK_WAIT", "wait", options);
  if (!wait) return wait.error();
  return options;
}

}  // namespace ullage::clients
