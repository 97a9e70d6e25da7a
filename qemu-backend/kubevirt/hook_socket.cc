// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/hook_socket.h"

#include <sys/file.h>

#include <cerrno>
#include <thread>

#include "node-agent/api/target.h"
#include "node-agent/host/text.h"
#include "node-agent/host/unix_socket.h"
#include "node-agent/model/time.h"

namespace ullage::hooks {
namespace {

// Whoever holds the lock binds a socket, which takes milliseconds.
constexpr int kTries = 250;
constexpr milliseconds kNap{20};
constexpr int kMostSidecars = 9;

Result<host::Fd> LockFolder(const std::string& folder) {
  auto fd = host::OpenDirectory(folder);
  if (!fd) return fd.error().In("the folder of the socket");
  for (int i = 0; i < kTries; ++i) {
    if (flock(fd->get(), LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno != EWOULDBLOCK && errno != EINTR) return host::FromErrno(errno, folder);
    std::this_thread::sleep_for(kNap);
  }
  return Error(Code::kUnavailable, host::Printable(folder) + ": somebody keeps it locked");
}

}  // namespace

Result<SocketTurn> TakeTurn(const std::string& path) {
  if (const Status fit = host::CheckSocketPath(path, api::kSocketPathLimit); !fit) {
    return fit.error();
  }
  auto lock = LockFolder(host::FolderOf(path));
  if (!lock) return lock.error();
  if (const Status free = host::CheckSocketFree(path, "another hook"); !free) return free.error();
  return SocketTurn{path, *std::move(lock)};
}

Result<SocketTurn> TakeTurnIn(const std::string& folder) {
  auto turn = TakeTurn(folder + "/ullage.sock");
  for (int i = 2; i <= kMostSidecars && !turn && turn.error().code() == Code::kExists; ++i) {
    turn = TakeTurn(folder + "/ullage-" + std::to_string(i) + ".sock");
  }
  return turn;
}

}  // namespace ullage::hooks
