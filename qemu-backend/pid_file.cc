// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/pid_file.h"

#include <filesystem>
#include <limits>
#include <system_error>

#include "node-agent/host/text.h"

namespace ullage::qemu {
namespace {

constexpr std::size_t kPidLimit = 32;
constexpr std::size_t kCmdlineLimit = std::size_t{1} << 20;

bool HasArgument(std::string_view cmdline, std::string_view argument) {
  while (!cmdline.empty()) {
    if (host::TakeUntil(cmdline, '\0') == argument) return true;
  }
  return false;
}

}  // namespace

Result<std::int32_t> FindQemu(const std::string& run_dir, const host::Roots& roots,
                              const DomainRef& domain) {
  const std::string& name = domain.name;
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    return Error(Code::kInvalid, "'" + host::Printable(name) + "' names no pid file");
  }
  auto folder = host::OpenDirectory(run_dir);
  if (!folder) return folder.error().In("pid file");
  const auto text = host::ReadFileAt(folder->get(), (name + ".pid").c_str(), kPidLimit);
  if (!text) {  // the message has the name in it, and the name any bytes
    return Error(text.error().code(), "pid file: " + host::Printable(text.error().message()));
  }
  const auto pid = host::ParseUnsigned(*text);
  if (!pid || *pid == 0 || *pid > std::numeric_limits<std::int32_t>::max()) {
    return Error(Code::kInvalid, "pid file: no pid in '" + host::Printable(*text, kPidLimit) + "'");
  }
  const std::string process = roots.proc + "/" + std::to_string(*pid);
  const auto cmdline = host::ReadFile(process + "/cmdline", kCmdlineLimit);
  if (!cmdline) return cmdline.error().In("pid file: process " + std::to_string(*pid));
  if (!HasArgument(*cmdline, domain.uuid)) {
    return Error(Code::kGone, "pid file: process " + std::to_string(*pid) + " is another one");
  }
  return static_cast<std::int32_t>(*pid);
}

bool NobodyRuns(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::directory_iterator file(run_dir, error);
  if (error) return error == std::errc::no_such_file_or_directory;
  for (const std::filesystem::directory_iterator end; file != end; file.increment(error)) {
    const std::filesystem::path name = file->path().filename();
    if (name.extension() == ".pid" && name != "driver.pid") return false;
  }
  return !error;
}

}  // namespace ullage::qemu
