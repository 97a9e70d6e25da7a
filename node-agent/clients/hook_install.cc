// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/hook_install.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"

namespace ullage::clients {
namespace {

// Stands in every build of this program, and so tells our copy, of whatever version, from
// somebody else's hook.
constexpr std::string_view kMark = "ullage-libvirt-hook:e1d0c9f4-7a52-4c0e-8a55-5f2b6f1f6f0a";

enum class Holder { kNobody, kOurs, kOther };

Result<bool> HoldsMark(const std::string& path) {
  const host::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return host::FromErrno(errno, host::Printable(path));
  std::vector<char> part(1 << 16);
  std::string window;  // the end of the last part, where a mark may have begun
  for (;;) {
    const ssize_t got = read(file.get(), part.data(), part.size());
    if (got < 0) return host::FromErrno(errno, host::Printable(path));
    if (got == 0) return false;
    window.append(part.data(), static_cast<std::size_t>(got));
    if (window.find(kMark) != std::string::npos) return true;
    if (window.size() > kMark.size()) window.erase(0, window.size() - kMark.size());
  }
}

Result<Holder> WhoHolds(const std::string& path) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Holder::kNobody;
    return host::FromErrno(errno, host::Printable(path));
  }
  if (!S_ISREG(found.st_mode)) return Holder::kOther;
  const Result<bool> ours = HoldsMark(path);
  if (!ours) return ours.error();
  return *ours ? Holder::kOurs : Holder::kOther;
}

Status CopyTo(const host::Fd& from, const host::Fd& to) {
  std::vector<char> part(1 << 16);
  for (;;) {
    const ssize_t got = read(from.get(), part.data(), part.size());
    if (got < 0) return host::FromErrno(errno, "reading this program");
    if (got == 0) break;
    for (ssize_t done = 0; done < got;) {
      const auto left = static_cast<std::size_t>(got - done);
      const ssize_t put = write(to.get(), part.data() + done, left);
      if (put < 0) return host::FromErrno(errno, "writing the hook");
      done += put;
    }
  }
  if (fchmod(to.get(), 0755) != 0 || fsync(to.get()) != 0) {
    return host::FromErrno(errno, "writing the hook");
  }
  return Ok();
}

// Whole or not at all: libvirt may run it at any moment. Without `replace` a file that appears
// meanwhile is left alone.
Status Put(const std::string& program, const std::string& target, bool replace) {
  const host::Fd from(open(program.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.valid()) return host::FromErrno(errno, host::Printable(program));
  std::string staged = target + ".ullage-XXXXXX";
  Status copied = Ok();
  {
    const host::Fd to(mkostemp(staged.data(), O_CLOEXEC));
    if (!to.valid()) return host::FromErrno(errno, "writing to " + host::Printable(target));
    copied = CopyTo(from, to);
  }  // closed: a file that is open for writing cannot be run
  const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
  if (copied && renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, target.c_str(), flags) != 0) {
    copied = host::FromErrno(errno, "putting the hook at " + host::Printable(target));
  }
  if (!copied) unlink(staged.c_str());
  return copied;
}

constexpr const char* kReload =
    "libvirtd looks for hooks only when it starts or reloads: if this is the first hook there, "
    "run 'systemctl reload libvirtd' (or virtqemud), or restart it.";

}  // namespace

Result<std::string> InstallHook(const std::string& program, const std::string& hooks_dir) {
  const std::string first = hooks_dir + "/qemu";
  const std::string folder = hooks_dir + "/qemu.d";
  const std::string second = folder + "/ullage";
  const Status made = host::MakeDirectories(hooks_dir, 0755);
  if (!made) return made.error();
  const Result<Holder> at_first = WhoHolds(first);
  if (!at_first) return at_first.error();
  const Result<Holder> at_second = WhoHolds(second);
  if (!at_second) return at_second.error();
  // Once in qemu.d, always there: two copies would ask twice.
  const bool aside = *at_first == Holder::kOther || *at_second == Holder::kOurs;
  const Holder holder = aside ? *at_second : *at_first;
  if (holder == Holder::kOther) {
    return Error(Code::kExists,
                 host::Printable(aside ? second : first) + " is somebody else's: it is left alone");
  }
  if (aside) {
    const Status made_aside = host::MakeDirectories(folder, 0755);
    if (!made_aside) return made_aside.error();
  }
  const std::string& target = aside ? second : first;
  const Status put = Put(program, target, holder == Holder::kOurs);
  if (!put) return put.error();
  std::string said = "installed as " + host::Printable(target);
  if (*at_first == Holder::kOther) {
    said += ", beside " + host::Printable(first) + " (libvirt 6.5 or newer runs both)";
  }
  return said + ". " + kReload;
}

Result<std::string> UninstallHook(const std::string& hooks_dir) {
  std::string removed;
  for (const std::string& path : {hooks_dir + "/qemu", hooks_dir + "/qemu.d/ullage"}) {
    const Result<Holder> holder = WhoHolds(path);
    if (!holder) return holder.error();
    if (*holder != Holder::kOurs) continue;
    if (unlink(path.c_str()) != 0) return host::FromErrno(errno, host::Printable(path));
    removed += (removed.empty() ? "removed " : " and ") + host::Printable(path);
  }
  if (!removed.empty()) rmdir((hooks_dir + "/qemu.d").c_str());  // only if nothing else is in it
  return removed.empty() ? "nothing of ours is in " + host::Printable(hooks_dir) : removed;
}

}  // namespace ullage::clients
