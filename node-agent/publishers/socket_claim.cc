// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/socket_claim.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "node-agent/api/target.h"
#include "node-agent/host/text.h"

namespace ullage::publishers {
namespace {

constexpr char kStaging[] = "/.ullage-XXXXXX";
constexpr char kStagedName[] = "/s";

std::string Folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status CheckPath(const std::string& path) {
  const std::string shown = host::Printable(path);
  if (path.empty() || path.front() != '/' || path.back() == '/') {
    return Error(Code::kInvalid, "socket '" + shown + "' is no absolute path of a file");
  }
  if (path.find('\0') != std::string::npos) {
    return Error(Code::kInvalid, "socket '" + shown + "' holds a NUL byte");
  }
  const std::size_t staged = Folder(path).size() + sizeof kStaging + sizeof kStagedName - 2;
  if (path.size() > api::kSocketPathLimit || staged > api::kSocketPathLimit) {
    return Error(Code::kInvalid, "socket '" + shown + "' is too long: the kernel takes at most " +
                                     std::to_string(api::kSocketPathLimit) + " bytes, and " +
                                     "its folder must leave 17 of them");
  }
  return Ok();
}

// What a connection attempt finds at a socket.
Status CheckNobodyAnswers(const std::string& path) {
  const host::Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return host::FromErrno(errno, "making a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int rc = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (rc == 0 || errno == EAGAIN) {
    return Error(Code::kExists, "another agent answers on " + host::Printable(path) +
                                    ": stop it, or choose another socket");
  }
  if (errno == ECONNREFUSED || errno == ENOENT) return Ok();
  return host::FromErrno(errno, "asking who listens on " + host::Printable(path));
}

// Only nothing at all, or a socket that nobody listens on, may be replaced.
Status CheckReplaceable(const std::string& path) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return Ok();
    return host::FromErrno(errno, host::Printable(path));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return Error(Code::kExists, host::Printable(path) +
                                    " exists and is no socket: it is left alone; remove it or "
                                    "choose another socket");
  }
  return CheckNobodyAnswers(path);
}

Result<host::Fd> Lock(const std::string& path) {
  auto lock = host::LockFile(path + ".lock");
  if (lock || lock.error().code() != Code::kExists) return lock;
  return Error(Code::kExists, "another agent answers on " + host::Printable(path) +
                                  ", or is about to: " + lock.error().message());
}

}  // namespace

SocketClaim::SocketClaim(std::string path, std::string folder, host::Fd lock)
    : path_(std::move(path)),
      folder_(std::move(folder)),
      staged_(folder_ + kStagedName),
      lock_(std::move(lock)) {}

SocketClaim::SocketClaim(SocketClaim&& other) noexcept
    : path_(std::move(other.path_)),
      folder_(std::exchange(other.folder_, {})),
      staged_(std::move(other.staged_)),
      lock_(std::move(other.lock_)),
      device_(other.device_),
      inode_(std::exchange(other.inode_, 0)) {}

Result<SocketClaim> SocketClaim::Take(const std::string& path) {
  const Status fit = CheckPath(path);
  if (!fit) return fit.error();
  const Status made = host::MakeDirectories(Folder(path), 0755);
  if (!made) return made.error();
  Result<host::Fd> lock = Lock(path);
  if (!lock) return lock.error();
  const Status replaceable = CheckReplaceable(path);
  if (!replaceable) return replaceable.error();
  std::string folder = Folder(path) + kStaging;
  if (mkdtemp(folder.data()) == nullptr) {  // 0700
    return host::FromErrno(errno, "making a folder in " + host::Printable(Folder(path)));
  }
  return SocketClaim(path, std::move(folder), *std::move(lock));
}

Status SocketClaim::Publish() {
  struct stat ours {};
  if (chmod(staged_.c_str(), 0600) != 0 || lstat(staged_.c_str(), &ours) != 0) {
    return host::FromErrno(errno, "the socket " + host::Printable(staged_));
  }
  const Status replaceable = CheckReplaceable(path_);
  if (!replaceable) return replaceable.error();
  if (rename(staged_.c_str(), path_.c_str()) != 0) {
    return host::FromErrno(errno, "putting the socket at " + host::Printable(path_));
  }
  device_ = ours.st_dev;
  inode_ = ours.st_ino;
  rmdir(folder_.c_str());  // now, so that a killed agent leaves none behind
  folder_.clear();
  return Ok();
}

SocketClaim::~SocketClaim() {
  struct stat now {};
  if (inode_ != 0 && lstat(path_.c_str(), &now) == 0 && now.st_dev == device_ &&
      now.st_ino == inode_) {
    unlink(path_.c_str());
  }
  if (folder_.empty()) return;
  unlink(staged_.c_str());
  rmdir(folder_.c_str());
}

}  // namespace ullage::publishers
