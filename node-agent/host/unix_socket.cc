// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

// What a connection attempt finds at a socket.
Status CheckNobodyAnswers(const std::string& path, std::string_view who) {
  const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return FromErrno(errno, "making a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int rc = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (rc == 0 || errno == EAGAIN) {
    return Error(Code::kExists, std::string(who) + " answers on " + Printable(path) +
                                    ": stop it, or choose another socket");
  }
  if (errno == ECONNREFUSED || errno == ENOENT) return Ok();
  return FromErrno(errno, "asking who listens on " + Printable(path));
}

}  // namespace

Status CheckSocketPath(const std::string& path, std::size_t limit) {
  const std::string shown = Printable(path);
  if (path.empty() || path.front() != '/' || path.back() == '/') {
    return Error(Code::kInvalid, "socket '" + shown + "' is no absolute path of a file");
  }
  if (path.find('\0') != std::string::npos) {
    return Error(Code::kInvalid, "socket '" + shown + "' holds a NUL byte");
  }
  if (path.size() > limit) {
    return Error(Code::kInvalid, "socket '" + shown + "' is too long: it may have " +
                                     std::to_string(limit) + " bytes");
  }
  return Ok();
}

Status CheckSocketFree(const std::string& path, std::string_view who) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return Ok();
    return FromErrno(errno, Printable(path));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return Error(Code::kExists, Printable(path) +
                                    " exists and is no socket: it is left alone; remove it or "
                                    "choose another socket");
  }
  return CheckNobodyAnswers(path, who);
}

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace ullage::host
