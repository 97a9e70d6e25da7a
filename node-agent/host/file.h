// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "node-agent/model/result.h"

namespace ullage::host {

/// Where the kernel's trees hang. The only place that spells them; a test brings a folder.
struct Roots {
  std::string proc = "/proc";
  std::string cgroup = "/sys/fs/cgroup";
  /// What "/" in /proc/PID/cgroup stands for, as a path in the hierarchy that counts memory: its
  /// root, but in a container with a cgroup namespace of its own (CgroupNamespaceRoot).
  std::string cgroup_namespace = "/";
  /// What the kernel says of memory management (page_idle, damon).
  std::string mm = "/sys/kernel/mm";
};

/// Where modules hang in a guest, as its own agent sees it; nothing of this machine.
inline constexpr std::string_view kGuestModules = "/sys/module";

/// An owned file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// An errno as an Error: ENOENT and ENODEV are kGone, EACCES and EPERM kDenied.
Error FromErrno(int error, std::string_view what);

/// A folder to read below; O_PATH would not do, because fstat's inode is its identity.
Result<Fd> OpenDirectory(const std::string& path);

/// Identity of an open folder: the inode outlives renames and is not a name somebody can reuse
/// while it is open.
Result<std::uint64_t> Inode(const Fd& fd);

/// A path that leads to what `fd` has open, and to nothing else, for as long as it is open, and for
/// this process alone: for interfaces that take only a path. It is a magic link, so what happens to
/// the names by which `fd` was opened does not matter.
std::string PathOf(const Roots& roots, const Fd& fd);

/// The file `name` below `directory`, at most `limit` bytes; a longer one is kInvalid. A cgroup
/// that vanishes while it is read (ENOENT, ENODEV) is kGone.
Result<std::string> ReadFileAt(int directory, const char* name, std::size_t limit);
Result<std::string> ReadFile(const std::string& path, std::size_t limit);

/// Replaces `path` by `content` so that a crash leaves the old or the new one, whole: temporary
/// file, fsync, rename, fsync of the folder.
Status ReplaceFile(const std::string& path, std::string_view content, mode_t mode);

/// `mkdir -p`; an existing folder is fine.
Status MakeDirectories(const std::string& path, mode_t mode);

/// Takes `path`'s lock (flock), making the file where there is none; it is held as long as the Fd
/// lives, and no crash leaves it behind. kExists when another process holds it.
Result<Fd> LockFile(const std::string& path);

/// /proc/sys/kernel/random/boot_id: changes with each boot.
Result<std::string> BootId(const Roots& roots);

}  // namespace ullage::host
