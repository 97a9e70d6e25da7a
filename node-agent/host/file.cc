// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kShownPath = 512;

Result<std::string> ReadAll(const Fd& file, std::string_view what, std::size_t limit) {
  std::string content;
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FromErrno(errno, what);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > limit) {
      return Error(Code::kInvalid,
                   std::string(what) + ": longer than " + std::to_string(limit) + " bytes");
    }
  }
}

Status WriteAll(const Fd& file, std::string_view content, std::string_view what) {
  while (!content.empty()) {
    const ssize_t put = write(file.get(), content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FromErrno(errno, what);
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return Ok();
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Error FromErrno(int error, std::string_view what) {
  // Paths come from libvirt and the kernel, and messages go to terminals and JSON.
  const std::string message = Printable(what, kShownPath) + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ENODEV:
    case ESRCH:
      return {Code::kGone, message};
    case EACCES:
    case EPERM:
    case EROFS:
      return {Code::kDenied, message};
    case EEXIST:
      return {Code::kExists, message};
    case ENOSPC:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return {Code::kExhausted, message};
    default:
      return {Code::kInternal, message};
  }
}

Result<Fd> OpenDirectory(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FromErrno(errno, path);
  return fd;
}

Result<std::uint64_t> Inode(const Fd& fd) {
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return FromErrno(errno, "fstat");
  return static_cast<std::uint64_t>(status.st_ino);
}

std::string PathOf(const Roots& roots, const Fd& fd) {
  return roots.proc + "/self/fd/" + std::to_string(fd.get());
}

Result<std::string> ReadFileAt(int directory, const char* name, std::size_t limit) {
  const Fd file(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return FromErrno(errno, name);
  return ReadAll(file, name, limit);
}

Result<std::string> ReadFile(const std::string& path, std::size_t limit) {
  return ReadFileAt(AT_FDCWD, path.c_str(), limit);
}

Status ReplaceFile(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = path + ".new";
  {
    const Fd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!file.valid()) return FromErrno(errno, temporary);
    if (auto written = WriteAll(file, content, temporary); !written) return written;
    if (fsync(file.get()) != 0) return FromErrno(errno, temporary);
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return FromErrno(errno, path);
  const auto folder = OpenDirectory(std::filesystem::path(path).parent_path().string());
  if (folder.ok()) fsync(folder->get());
  return Ok();
}

Status MakeDirectories(const std::string& path, mode_t mode) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return FromErrno(errno, part);
    if (at == std::string::npos) return Ok();
  }
}

Result<Fd> LockFile(const std::string& path) {
  Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return FromErrno(errno, path);
  if (flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
  if (errno == EWOULDBLOCK)
    return Error(Code::kExists,
                 path + ": another process holds it (does another ullage-agent run?)");
  return FromErrno(errno, path);
}

Result<std::string> BootId(const Roots& roots) {
  auto id = ReadFile(roots.proc + "/sys/kernel/random/boot_id", 64);
  if (!id) return id;
  while (id->ends_with('\n')) id->pop_back();
  return id;
}

}  // namespace ullage::host
