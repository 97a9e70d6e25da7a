// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "node-agent/host/file.h"

namespace ullage::host {

/// What is used of /proc/PID/stat (proc(5)).
struct ProcStat {
  char state = '?';
  std::int32_t parent = 0;  ///< 0: none in this pid namespace
  std::uint64_t start = 0;  ///< clock ticks since boot; pid and start name a process for good
};
Result<ProcStat> ParseProcStat(std::string_view text);

/// One process, held by its open folder in /proc. The folder belongs to the process and not to its
/// number: once it is gone each read says kGone, also when another process has the number.
class Process {
 public:
  /// kGone: there is none, or it has ended and is only not yet waited for.
  static Result<Process> Open(const Roots& roots, std::int32_t pid);

  std::int32_t pid() const { return pid_; }
  std::int32_t parent() const { return stat_.parent; }
  std::uint64_t start() const { return stat_.start; }
  /// /proc/PID, for files below it.
  const Fd& folder() const { return folder_; }

  /// Ok as long as it runs; kGone afterwards.
  Status Runs() const;
  /// The file name of its program, any bytes, as the link /proc/PID/exe has it: nothing is opened,
  /// and a program that was replaced or removed while it runs keeps its name. kDenied without
  /// CAP_SYS_PTRACE when it is another user's.
  Result<std::string> Executable() const;
  /// Whether `value` follows argument `name` somewhere on its command line, alone or with ",…"
  /// behind it.
  Result<bool> HasOption(std::string_view name, std::string_view value) const;

 private:
  Process(Fd folder, std::int32_t pid, ProcStat stat)
      : folder_(std::move(folder)), pid_(pid), stat_(stat) {}

  Fd folder_;
  std::int32_t pid_;
  ProcStat stat_;
};

/// Pure halves.
std::string_view ProgramName(std::string_view link);
bool OptionIn(std::string_view cmdline, std::string_view name, std::string_view value);

}  // namespace ullage::host
