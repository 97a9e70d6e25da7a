// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/taking.h"

#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

namespace ullage::agent {
namespace {

constexpr seconds kBetweenStarts{10};

// In a session of its own, so that whatever ends this agent does not end it. Returns once it has
// detached itself, which takes milliseconds.
Status StartKeeper(const std::string& program, const std::string& folder,
                   const host::Roots& roots) {
  std::vector<std::string> words{program,  "--state",  folder,    "--cgroup", roots.cgroup,
                                 "--proc", roots.proc, "--leave", "--detach"};
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int failed =
      posix_spawn(&child, program.c_str(), nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) return host::FromErrno(failed, program);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return host::FromErrno(errno, program);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Ok();
  return Error(Code::kUnavailable, program + " does not start");
}

}  // namespace

std::string KeeperBesideThisProgram(const host::Roots& roots) {
  std::array<char, 4096> path{};
  const ssize_t size = readlink((roots.proc + "/self/exe").c_str(), path.data(), path.size() - 1);
  if (size <= 0) return "";
  const std::string self(path.data(), static_cast<std::size_t>(size));
  return self.substr(0, self.rfind('/') + 1) + "ullage-lease";
}

Result<std::unique_ptr<Taking>> Taking::Open(Options options, actuators::BalloonSetter& setter,
                                             std::function<std::string(const VmId&)> cgroup) {
  if (const Status made = host::MakeDirectories(options.folder, 0700); !made) {
    return made.error();
  }
  auto heart = host::Heartbeat::Begin(options.folder);
  if (!heart) return heart.error();
  auto book = host::LeaseBook::Open(options.folder, options.boot_id);
  if (!book) return book.error();
  std::unique_ptr<Taking> taking(
      new Taking(std::move(options), *std::move(book), *std::move(heart)));
  const Options& kept = taking->options_;
  taking->taker_.emplace(
      setter, actuators::Limits::Parts{taking->book_, kept.roots, std::move(cgroup),
                                       [&kept] { return host::KeeperLives(kept.folder); }});
  return taking;
}

void Taking::Beat(BootTime now) {
  const Status beat = heart_.Beat(now);
  Note(beat ? "" : beat.error().message());
  if (options_.keeper.empty() || host::KeeperLives(options_.folder)) return;
  if (started_ && now - *started_ < kBetweenStarts) return;
  started_ = now;
  const Status started = StartKeeper(options_.keeper, options_.folder, options_.roots);
  if (!started) Note(started.error().message());
}

void Taking::Note(const std::string& fault) {
  if (fault != fault_ && !fault.empty()) spdlog::warn("no limit is set: {}", fault);
  fault_ = fault;
}

}  // namespace ullage::agent
