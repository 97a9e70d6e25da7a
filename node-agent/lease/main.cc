// SPDX-License-Identifier: Apache-2.0
// ullage-lease: undoes the limits of an agent that has stopped to breathe; nothing else.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include "node-agent/host/clock.h"
#include "node-agent/host/file.h"
#include "node-agent/lease/keeper.h"

namespace ullage::lease {
namespace {

constexpr int kUsage = 2;
constexpr timespec kRest{1, 0};

struct Flags {
  std::string folder = "/run/ullage";
  host::Roots roots;
  bool detach = false;
  bool leave = false;  // end when no agent lives and nothing is left to undo
};

int Usage() {
  std::fputs(
      "usage: ullage-lease [--state DIR] [--cgroup DIR] [--proc DIR] [--leave] [--detach]\n"
      "Takes the agent's leased limits away once the agent does not breathe any more.\n"
      "  --state DIR   the folder of the agent's socket (/run/ullage)\n"
      "  --cgroup DIR  the hierarchy in which it may write\n"
      "  --leave       end when no agent lives and nothing is left to undo\n"
      "  --detach      go on in the background, in a session of its own\n",
      stderr);
  return kUsage;
}

bool Read(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    std::string* const value = name == "--state"    ? &flags.folder
                               : name == "--cgroup" ? &flags.roots.cgroup
                               : name == "--proc"   ? &flags.roots.proc
                                                    : nullptr;
    if (value != nullptr) {
      if (++i == argc || argv[i][0] != '/') return false;
      *value = argv[i];
    } else if (name == "--detach") {
      flags.detach = true;
    } else if (name == "--leave") {
      flags.leave = true;
    } else {
      return false;
    }
  }
  return true;
}

void Say(const std::string& line) { std::fprintf(stderr, "ullage-lease: %s\n", line.c_str()); }

// A fault is said once, not each second.
void SayNew(const std::string& line, std::string& last) {
  if (line != last && !line.empty()) Say(line);
  last = line;
}

// A signal to end is obeyed once nothing is left to undo: a pod's containers are all told at once.
int Run(const Flags& flags, const sigset_t& signals) {
  const host::SystemClock clock;
  const auto boot_id = host::BootId(flags.roots);
  if (!boot_id) {
    Say(boot_id.error().message());
    return 1;
  }
  const auto sole = host::KeeperLock(flags.folder);
  if (!sole) {
    Say(sole.error().message());
    return sole.error().code() == Code::kExists ? 0 : 1;
  }
  Keeper keeper({flags.folder, flags.roots, seconds(10), *boot_id});
  bool leave = flags.leave;
  bool met = false;  // an agent that has just started us may not hold its lock yet, or any more
  std::string last;
  for (int looks = 0;; ++looks) {
    const auto seen = keeper.Look(clock.Now().boot);
    if (!seen) {
      SayNew(seen.error().message(), last);
    } else {
      for (const std::string& line : seen->undone) Say(line);
      std::string faults;
      for (const std::string& fault : seen->faults) faults += (faults.empty() ? "" : "; ") + fault;
      SayNew(faults, last);
      met = met || seen->held;
      if (leave && !seen->held && seen->left == 0 && (met || looks > 10)) return 0;
    }
    if (sigtimedwait(&signals, nullptr, &kRest) > 0) leave = met = true;
  }
}

int Main(int argc, char** argv) {
  Flags flags;
  if (!Read(argc, argv, flags)) return Usage();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  if (flags.detach) {
    // Nothing of whoever started it stays open, but where its messages go.
    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (chdir("/") != 0) return 1;
    const pid_t child = fork();
    if (child < 0) {
      Say(std::string("fork: ") + std::strerror(errno));
      return 1;
    }
    if (child > 0) return 0;
    setsid();
  }
  return Run(flags, signals);
}

}  // namespace
}  // namespace ullage::lease

int main(int argc, char** argv) { return ullage::lease::Main(argc, argv); }
