// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/process.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <limits>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kStatLimit = 4096;
constexpr std::size_t kCmdlineLimit = std::size_t{1} << 20;

std::string Shown(std::int32_t pid) { return "process " + std::to_string(pid); }

Result<ProcStat> ReadStat(const Fd& folder) {
  const auto text = ReadFileAt(folder.get(), "stat", kStatLimit);
  if (!text) return text.error();
  auto stat = ParseProcStat(*text).In("stat");
  if (stat && (stat->state == 'Z' || stat->state == 'X' || stat->state == 'x')) {
    return Error(Code::kGone, "has ended");
  }
  return stat;
}

}  // namespace

Result<ProcStat> ParseProcStat(std::string_view text) {
  // The program's name may hold anything, brackets and line ends too; nothing behind it does.
  const std::size_t name_end = text.rfind(") ");
  if (name_end == std::string_view::npos) return Error(Code::kInvalid, "no process name");
  text.remove_prefix(name_end + 2);
  ProcStat stat;
  const std::string_view state = TakeUntil(text, ' ');
  if (state.size() != 1) return Error(Code::kInvalid, "no state");
  stat.state = state.front();
  const auto parent = ParseUnsigned(TakeUntil(text, ' '));
  if (!parent || *parent > std::numeric_limits<std::int32_t>::max()) {
    return Error(Code::kInvalid, "no parent");
  }
  stat.parent = static_cast<std::int32_t>(*parent);
  constexpr int kParent = 4;  // proc(5) counts the fields from 1
  constexpr int kStart = 22;
  for (int field = kParent + 1; field < kStart; ++field) TakeUntil(text, ' ');
  const auto start = ParseUnsigned(TakeUntil(text, ' '));
  if (!start) return Error(Code::kInvalid, "no start time");
  stat.start = *start;
  return stat;
}

Result<Process> Process::Open(const Roots& roots, std::int32_t pid) {
  auto folder = OpenDirectory(roots.proc + "/" + std::to_string(pid));
  if (!folder) return folder.error();
  const auto stat = ReadStat(*folder);
  if (!stat) return stat.error().In(Shown(pid));
  return Process(*std::move(folder), pid, *stat);
}

Status Process::Runs() const {
  const auto now = ReadStat(folder_);
  if (!now) return now.error().In(Shown(pid_));
  if (now->start == stat_.start) return Ok();
  return Error(Code::kGone, Shown(pid_) + ": is another one by now");
}

Result<std::string> Process::Executable() const {
  std::array<char, PATH_MAX> link{};
  const ssize_t length = readlinkat(folder_.get(), "exe", link.data(), link.size());
  if (length < 0) return FromErrno(errno, "exe").In(Shown(pid_));
  const auto size = static_cast<std::size_t>(length);
  if (size == link.size()) return Error(Code::kInvalid, Shown(pid_) + ": exe: too long");
  return std::string(ProgramName({link.data(), size}));
}

Result<bool> Process::HasOption(std::string_view name, std::string_view value) const {
  const auto cmdline = ReadFileAt(folder_.get(), "cmdline", kCmdlineLimit);
  if (!cmdline) return cmdline.error().In(Shown(pid_));
  return OptionIn(*cmdline, name, value);
}

std::string_view ProgramName(std::string_view link) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (link.ends_with(kDeleted)) link.remove_suffix(kDeleted.size());
  return link.substr(link.rfind('/') + 1);  // npos + 1 is 0: all of it
}

bool OptionIn(std::string_view cmdline, std::string_view name, std::string_view value) {
  bool follows = false;
  while (!cmdline.empty()) {
    const std::string_view argument = TakeUntil(cmdline, '\0');
    if (follows && argument.substr(0, argument.find(',')) == value) return true;
    follows = argument == name;
  }
  return false;
}

}  // namespace ullage::host
