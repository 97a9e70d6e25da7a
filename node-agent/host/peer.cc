// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/peer.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

// unix(7): SO_SNDTIMEO bounds how long connect() waits for room in the listener's queue.
Status BoundConnect(const Fd& ours, milliseconds patience) {
  const milliseconds bounded = std::max(patience, milliseconds(1));  // 0 would be "for ever"
  timeval wait{};
  wait.tv_sec = static_cast<time_t>(bounded.count() / 1000);
  wait.tv_usec = static_cast<suseconds_t>(bounded.count() % 1000 * 1000);
  if (setsockopt(ours.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0) return Ok();
  return FromErrno(errno, "bounding a connect");
}

Error NotConnected(int error) {
  switch (error) {
    case EAGAIN:
      return {Code::kDeadline, "it takes no connection: its queue is full"};
    case ECONNREFUSED:
      return {Code::kUnavailable, "nobody listens on it"};
    case EPROTOTYPE:
      return {Code::kInvalid, "it is no stream socket"};
    default:
      return FromErrno(error, "connecting");
  }
}

Status Connect(const Fd& ours, const std::string& path, milliseconds patience) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error(Code::kInvalid, Printable(path) + ": too long for a socket's address");
  }
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* target = reinterpret_cast<const sockaddr*>(&address);
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (connect(ours.get(), target, sizeof address) != 0) {
    // A signal does not make it wait for ever either.
    if (errno == EINTR && std::chrono::steady_clock::now() < give_up) continue;
    return NotConnected(errno == EINTR ? EAGAIN : errno);
  }
  return Ok();
}

}  // namespace

Status RequireSocket(const Fd& file, std::string_view what) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return FromErrno(errno, what);
  if (S_ISSOCK(status.st_mode)) return Ok();
  return Error(Code::kInvalid, Printable(what) + ": is no socket");
}

Result<Fd> OpenSocketAt(const Fd& directory, const char* name) {
  Fd socket(openat(directory.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!socket.valid()) return FromErrno(errno, name);
  const Status is_socket = RequireSocket(socket, name);
  if (!is_socket) return is_socket.error();
  return socket;
}

Result<Peer> PeerOf(const Roots& roots, const Fd& listener, milliseconds patience) {
  const Status is_socket = RequireSocket(listener, "what is to be connected to");
  if (!is_socket) return is_socket.error();
  const Fd ours(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!ours.valid()) return FromErrno(errno, "making a socket");
  const Status bounded = BoundConnect(ours, patience);
  if (!bounded) return bounded.error();
  const Status connected = Connect(ours, PathOf(roots, listener), patience);
  if (!connected) return connected.error();
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(ours.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
    return FromErrno(errno, "SO_PEERCRED");
  }
  if (who.pid <= 0) {
    return Error(Code::kDenied,
                 "the process that listens is outside this pid namespace (a pod needs hostPID)");
  }
  return Peer{who.pid, who.uid};
}

}  // namespace ullage::host
