// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/hook_install.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <string_view>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"

namespace ullage::clients {
namespace {

// Stands in every build of this program, and so tells our copy, of whatever version, from
// somebody else's hook.
constexpr std::string_view kMark = "ullage-libvirt-hook:e1d0c9f4-7a52-4c0e-8a55-5f2b6f1f6f0a";

// What libvirt runs. libvirt kills a running domain whose hook fails at `reconnect`, and after an
// upgrade of the system the program may fail before it reaches any code of ours: so a script that
// needs only sh lets nothing but `prepare` fail. It lies beside the program or one folder below.
constexpr std::string_view kScriptHead = "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n# ";
constexpr std::string_view kScriptBody = R"sh(
# Written by ullage-libvirt-hook --install, which replaces it; --uninstall removes it.
# Only `prepare` may fail: libvirt kills running domains for a failure at `reconnect`.
program="${0%/*}/ullage-libvirt-hook"
case $0 in */qemu.d/ullage) program="${0%/*}/../ullage-libvirt-hook" ;; esac
ULLAGE_HOOK_SCRIPT="$0" "$program" "$@"
status=$?
[ "$status" -le 2 ] ||
	echo "ullage: $program failed (status $status): install it anew, or remove $0 to start VMs without admission" >&2
[ "${2-}" = prepare ] || exit 0
exit "$status"
)sh";

// Beside the script, where libvirtd's AppArmor profile lets it run, under a name that libvirt runs
// by itself never: it knows only `qemu` and what lies in `qemu.d`.
std::string ProgramIn(const std::string& hooks_dir) { return hooks_dir + "/ullage-libvirt-hook"; }

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

Status WriteAll(const host::Fd& to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(to.get(), text.data(), text.size());
    if (put < 0) return host::FromErrno(errno, "writing the hook");
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return Ok();
}

Status CopyTo(const host::Fd& from, const host::Fd& to) {
  std::vector<char> part(1 << 16);
  for (;;) {
    const ssize_t got = read(from.get(), part.data(), part.size());
    if (got < 0) return host::FromErrno(errno, "reading this program");
    if (got == 0) return Ok();
    Status put = WriteAll(to, {part.data(), static_cast<std::size_t>(got)});
    if (!put) return put;
  }
}

Status Finish(const host::Fd& to) {
  if (fchmod(to.get(), 0755) != 0 || fsync(to.get()) != 0) {
    return host::FromErrno(errno, "writing the hook");
  }
  return Ok();
}

// Whole or not at all: libvirt may run it at any moment. Without `replace` a file that appears
// meanwhile is left alone.
Status Put(const std::string& target, bool replace,
           const std::function<Status(const host::Fd&)>& fill) {
  std::string staged = target + ".ullage-XXXXXX";
  Status filled = Ok();
  {
    const host::Fd to(mkostemp(staged.data(), O_CLOEXEC));
    if (!to.valid()) return host::FromErrno(errno, "writing to " + host::Printable(target));
    filled = fill(to);
    if (filled) filled = Finish(to);
  }  // closed: a file that is open for writing cannot be run
  const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
  if (filled && renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, target.c_str(), flags) != 0) {
    filled = host::FromErrno(errno, "putting the hook at " + host::Printable(target));
  }
  if (!filled) unlink(staged.c_str());
  return filled;
}

Status PutProgram(const std::string& program, const std::string& target, bool replace) {
  const host::Fd from(open(program.c_str(), O_RDONLY | O_CLOEXEC));
  if (!from.valid()) return host::FromErrno(errno, host::Printable(program));
  return Put(target, replace, [&](const host::Fd& to) { return CopyTo(from, to); });
}

Status PutScript(const std::string& target, bool replace) {
  std::string text(kScriptHead);
  text.append(kMark).append(kScriptBody);
  return Put(target, replace, [&](const host::Fd& to) { return WriteAll(to, text); });
}

// The program before the script that needs it.
Status PutBoth(const std::string& program, const std::string& hooks_dir, const std::string& script,
               bool replace_script) {
  const std::string beside = ProgramIn(hooks_dir);
  const Result<Holder> holder = WhoHolds(beside);
  if (!holder) return holder.error();
  if (*holder == Holder::kOther) {
    return Error(Code::kExists, host::Printable(beside) + " is somebody else's: it is left alone");
  }
  const Status put = PutProgram(program, beside, *holder == Holder::kOurs);
  return put ? PutScript(script, replace_script) : put;
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
  const Status put = PutBoth(program, hooks_dir, target, holder == Holder::kOurs);
  if (!put) return put.error();
  std::string said = "installed as " + host::Printable(target);
  if (*at_first == Holder::kOther) {
    said += ", beside " + host::Printable(first) + " (libvirt 6.5 or newer runs both)";
  }
  return said + ". " + kReload;
}

Result<std::string> UninstallHook(const std::string& hooks_dir) {
  std::string removed;
  // The scripts first: one without its program refuses every start.
  for (const std::string& path :
       {hooks_dir + "/qemu", hooks_dir + "/qemu.d/ullage", ProgramIn(hooks_dir)}) {
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
