// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/in_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

// The kernel gives up when something is renamed while it resolves a "..". Somebody who renames
// without pause must not keep us here.
constexpr int kTries = 64;

Error Refused(int error, const std::string& path) {
  switch (error) {
    case ENOSYS:
      return {Code::kUnavailable, Printable(path) +
                                      ": this kernel has no openat2 (Linux 5.6 has), or the "
                                      "container's seccomp profile forbids it"};
    case EAGAIN:
      return {Code::kUnavailable, Printable(path) + ": names on the way keep changing"};
    case ELOOP:
    case EXDEV:
      return {Code::kInvalid,
              Printable(path) + ": leads through a loop of links or out of its root"};
    default:
      return FromErrno(error, path);
  }
}

}  // namespace

Result<Fd> OpenInRoot(const Fd& root, const std::string& path, int flags) {
  if (path.find('\0') != std::string::npos) {
    return Error(Code::kInvalid, Printable(path) + ": holds a NUL byte");
  }
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (int i = 1;; ++i) {
    Fd fd(static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
    if (fd.valid()) return fd;
    if (errno == EINTR || (errno == EAGAIN && i < kTries)) continue;
    return Refused(errno, path);
  }
}

}  // namespace ullage::host
