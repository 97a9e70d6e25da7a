// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/guest/command.h"

namespace ullage::tests {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

/// Asks `true_now` until it says yes; false after `patience`. ULLAGE_PATIENCE multiplies it, for
/// machines that are themselves emulated.
bool Eventually(const std::function<bool()>& true_now,
                std::chrono::seconds patience = std::chrono::seconds(60));

/// A private libvirt with real guests (scripts/lab); its host is a memory cgroup. Gone with
/// everything in it when this goes.
class Lab {
 public:
  explicit Lab(int host_mib);
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;
  ~Lab();

  const std::string& dir() const { return dir_; }
  std::string socket() const { return dir_ + "/run/ullage/agent.sock"; }

  Output Command(std::vector<std::string> words) const;
  Output Virsh(std::vector<std::string> words) const;
  /// The command line that runs `command` where this lab's libvirt is the libvirt.
  std::vector<std::string> Inside(std::vector<std::string> command) const;

  void Define(const std::string& name, std::vector<std::string> options) const;
  /// Starts it by `virsh start` and waits until it has booted.
  void Boot(const std::string& name) const;
  /// Defines and boots.
  void Guest(const std::string& name, std::vector<std::string> options) const;
  std::string Exec(const std::string& name, const std::string& command) const;
  std::int64_t Charge(const std::string& name) const;
  pid_t Pid(const std::string& name) const;
  /// Ends and undefines all guests.
  void Clear() const;

  std::string host_cgroup() const;
  /// How long libvirt's hook waits for an agent from now on. Generous, but for tests that need to
  /// see it give up.
  void SetHookWait(std::chrono::seconds wait) const;
  static constexpr std::chrono::seconds kHookWait{30};

 private:
  std::string dir_;
};

/// ullage-agent --standalone in a lab, with periods short enough to watch.
class AgentInLab {
 public:
  explicit AgentInLab(const Lab& lab, const std::string& more_config = "");

  /// The snapshot as `ullagectl top -o json` gives it; null when the agent does not answer.
  nlohmann::json Snapshot() const;
  /// One VM of it; null when it is not there.
  nlohmann::json Vm(const std::string& name) const;
  /// A text of that VM; empty when the VM or the text is not there.
  std::string Text(const std::string& name, const char* key) const;
  /// A figure of the capacity; absent when the agent does not answer.
  std::optional<std::int64_t> Capacity(const char* term) const;
  /// What it has logged since `from` bytes.
  std::string Log(std::size_t from = 0) const;
  Process& process() { return *process_; }
  /// kill −9 or SIGTERM, then a new one on the same state.
  void Restart(int signal);
  /// Writes its configuration, for its next start.
  void Configure(const std::string& more_config) const;
  void Start();

 private:
  const Lab& lab_;
  std::unique_ptr<Process> process_;
};

/// A figure of the JSON (64-bit numbers are strings there); absent when that or the whole object
/// is.
std::optional<std::int64_t> Figure(const nlohmann::json& object, const char* key);

/// The program of this build.
std::string Program(const std::string& name);
std::string SourceDir();

/// One lab and one agent for all tests of a program: each test clears its guests.
class GuestTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  void SetUp() override;
  void TearDown() override;
  static Lab& lab() { return *lab_; }
  static AgentInLab& agent() { return *agent_; }
  bool Hinting(const std::string& name, const std::string& state) const;

  static std::unique_ptr<Lab> lab_;
  static std::unique_ptr<AgentInLab> agent_;

 private:
  std::size_t logged_before_ = 0;
};

}  // namespace ullage::tests
