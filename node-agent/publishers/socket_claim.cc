// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/socket_claim.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "node-agent/api/target.h"
#include "node-agent/host/text.h"
#include "node-agent/host/unix_socket.h"

namespace ullage::publishers {
namespace {

constexpr char kStaging[] = "/.ullage-XXXXXX";
constexpr char kStagedName[] = "/s";

Status CheckPath(const std::string& path) {
  const Status fit = host::CheckSocketPath(path, api::kSocketPathLimit);
  if (!fit) return fit.error();
  const std::size_t staged = host::FolderOf(path).size() + sizeof kStaging + sizeof kStagedName - 2;
  if (staged <= api::kSocketPathLimit) return Ok();
  return Error(Code::kInvalid, "socket '" + host::Printable(path) +
                                   "' is too long: the kernel takes at most " +
                                   std::to_string(api::kSocketPathLimit) + " bytes, and " +
                                   "its folder must leave 17 of them");
}

Status CheckReplaceable(const std::string& path) {
  return host::CheckSocketFree(path, "another agent");
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
  const Status made = host::MakeDirectories(host::FolderOf(path), 0755);
  if (!made) return made.error();
  Result<host::Fd> lock = Lock(path);
  if (!lock) return lock.error();
  const Status replaceable = CheckReplaceable(path);
  if (!replaceable) return replaceable.error();
  std::string folder = host::FolderOf(path) + kStaging;
  if (mkdtemp(folder.data()) == nullptr) {  // 0700
    return host::FromErrno(errno, "making a folder in " + host::Printable(host::FolderOf(path)));
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
