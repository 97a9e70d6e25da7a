// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace ullage::tests {

struct Output {
  int status = -1;   ///< exit status; 128 + signal; −1 when it did not end in time
  std::string text;  ///< standard output and error, mixed
};

/// Runs a program to its end, at most `patience`, then kills that very process.
Output RunProgram(const std::vector<std::string>& command, const std::string& input = "",
                  std::chrono::seconds patience = std::chrono::seconds(120));

/// A program in the background, its output in a file. Ended by its exact pid when this goes.
class Process {
 public:
  Process(const std::vector<std::string>& command, const std::string& log);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  bool alive();
  void Signal(int signal) const;
  /// Waits for its end; its exit status, 128 + signal, or −1 after `patience`.
  int Wait(std::chrono::seconds patience = std::chrono::seconds(15));

 private:
  pid_t pid_ = -1;
  int status_ = -1;
  bool ended_ = false;
};

}  // namespace ullage::tests
