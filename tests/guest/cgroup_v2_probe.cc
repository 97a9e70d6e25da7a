// SPDX-License-Identifier: Apache-2.0
// Runs as root inside a guest whose only hierarchy is cgroup v2, mounted where it always is: does
// host/cgroup.h see there what the kernel does? Prints TAP. Checks that need a block device
// (/dev/ram0 for page cache, swap on another) are skipped without one.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "node-agent/host/cgroup.h"

namespace ullage {
namespace {

using host::MemoryCgroup;
using host::MemoryCgroupOf;
using host::Roots;

constexpr std::int64_t kTouched = std::int64_t{64} << 20;
// The kernel charges in batches of 64 pages a CPU, and the child has pages of its own.
constexpr std::int64_t kSlack = std::int64_t{4} << 20;
const std::string kRoot = "/sys/fs/cgroup";

int checks = 0;
int failures = 0;

bool Check(bool good, const std::string& what, const std::string& seen = "") {
  std::printf("%s %d - %s\n", good ? "ok" : "not ok", ++checks, what.c_str());
  if (!good && !seen.empty()) std::printf("# %s\n", seen.c_str());
  std::fflush(stdout);
  failures += good ? 0 : 1;
  return good;
}
void Skip(const std::string& what, const char* why) {
  std::printf("ok %d - %s # SKIP %s\n", ++checks, what.c_str(), why);
}

template <typename T>
std::string Said(const Result<T>& result) {
  return result ? "a value"
                : std::string(Name(result.error().code())) + ": " + result.error().message();
}
template <typename T>
bool Fails(const Result<T>& result, Code code) {
  return !result && result.error().code() == code;
}
// The figure, or −1 for none.
std::int64_t Count(const Result<Bytes>& figure) { return figure ? figure->count() : -1; }
std::int64_t Count(const Result<std::optional<Bytes>>& figure) {
  return figure && *figure ? (*figure)->count() : -1;
}

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}
std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A process in a cgroup of its own that does one thing each time it is told to.
class Child {
 public:
  explicit Child(const std::string& cgroup) {
    if (pipe(orders_) != 0 || pipe(answers_) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) Serve(cgroup);
    Await();
  }
  ~Child() { End(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  void Touch() { Order('t'); }
  void Free() { Order('f'); }
  void ReadDevice() { Order('r'); }
  /// It is dead, and still to be waited for.
  void Kill() const {
    kill(pid_, SIGKILL);
    siginfo_t info;
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  void End() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  void Order(char what) {
    if (write(orders_[1], &what, 1) == 1) Await();
  }
  void Await() {
    char answer = 0;
    if (read(answers_[0], &answer, 1) != 1) std::abort();
  }
  [[noreturn]] void Serve(const std::string& cgroup) {
    if (!Write(cgroup + "/cgroup.procs", "0")) _exit(1);
    char* memory = nullptr;
    char what = 'k';
    while (write(answers_[1], &what, 1) == 1 && read(orders_[0], &what, 1) == 1) {
      if (what == 't') {
        memory = static_cast<char*>(
            mmap(nullptr, kTouched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        std::memset(memory, 1, kTouched);
      } else if (what == 'f') {
        munmap(memory, kTouched);
      } else if (what == 'r') {
        // It stays open: with its last reader a block device's cache goes, too.
        const int device = open("/dev/ram0", O_RDONLY);
        static char buffer[1 << 16];
        for (std::int64_t left = kTouched / 4; left > 0; left -= sizeof buffer) {
          if (read(device, buffer, sizeof buffer) <= 0) break;
        }
      }
    }
    _exit(0);
  }

  int orders_[2] = {-1, -1};
  int answers_[2] = {-1, -1};
  int pid_ = -1;
};

std::string MakeCgroup(const std::string& name) {
  const std::string path = kRoot + "/" + name;
  mkdir(path.c_str(), 0755);
  return path;
}

// Removing takes a moment after the last process has ended.
bool RemoveCgroup(const std::string& path) {
  for (int i = 0; i < 100; ++i) {
    if (rmdir(path.c_str()) == 0) return true;
    usleep(20000);
  }
  return false;
}

void ChecksOfFigures(const std::string& path, const MemoryCgroup& cgroup, Child& child) {
  const std::int64_t before = Count(cgroup.Usage());
  child.Touch();
  const std::int64_t held = Count(cgroup.Usage());
  Check(before >= 0 && held - before > kTouched - kSlack, "usage rises with what is touched",
        std::to_string(before) + " then " + std::to_string(held));
  child.Free();
  const std::int64_t after = Count(cgroup.Usage());
  Check(after >= 0 && after < before + kSlack, "and falls when it is freed", std::to_string(after));
  if (access((path + "/memory.peak").c_str(), F_OK) == 0) {
    const std::int64_t peak = Count(cgroup.Peak());
    Check(peak >= held && peak < held + kSlack, "the peak stays", std::to_string(peak));
  } else {
    Check(cgroup.Peak().ok() && !*cgroup.Peak(), "no peak is absent, not zero");
  }
  Check(cgroup.Limit().ok() && !*cgroup.Limit(), "\"max\" is no limit", Said(cgroup.Limit()));
  Write(path + "/memory.max", "100663296");
  Check(Count(cgroup.Limit()) == 100663296, "a limit is read",
        std::to_string(Count(cgroup.Limit())));
  Write(path + "/memory.max", "max");
}

void ChecksOfCacheAndSwap(const std::string& path, const MemoryCgroup& cgroup, Child& child) {
  const std::int64_t cache = Count(cgroup.InactiveFile());
  Check(cache >= 0, "inactive_file is there", Said(cgroup.InactiveFile()));
  if (access("/dev/ram0", R_OK) == 0) {
    child.ReadDevice();
    const std::int64_t more = Count(cgroup.InactiveFile()) - cache;
    Check(more > kTouched / 4 - kSlack, "and counts page cache", std::to_string(more));
  } else {
    Skip("and counts page cache", "no /dev/ram0");
  }
  Check(Count(cgroup.Swap()) == 0, "nothing is swapped", Said(cgroup.Swap()));
  if (Read("/proc/swaps").find("/dev/") == std::string::npos) {
    return Skip("what is swapped is counted", "no swap");
  }
  child.Touch();
  Write(path + "/memory.reclaim", "33554432");
  const std::int64_t swapped = Count(cgroup.Swap());
  Check(swapped > 8 << 20, "what is swapped is counted", std::to_string(swapped));
  child.Free();
}

void ChecksOfPaths(const std::string& path, Child& child) {
  const Roots roots;
  const auto found = MemoryCgroupOf(roots, child.pid());
  Check(found.ok() && *found == path, "a process's cgroup is found", Said(found));
  const std::string inner = MakeCgroup("outer") + "/inner";
  mkdir(inner.c_str(), 0755);
  {
    const Child deep(inner);
    const auto above = MemoryCgroupOf(roots, deep.pid());
    Check(above.ok() && *above == kRoot + "/outer",
          "from a folder without memory accounting the way leads up", above ? *above : Said(above));
    Check(Fails(MemoryCgroup::Open(inner), Code::kInvalid), "which itself is refused",
          Said(MemoryCgroup::Open(inner)));
  }
  RemoveCgroup(inner);
  RemoveCgroup(kRoot + "/outer");
  const auto own = MemoryCgroupOf(roots, getpid());
  Check(!own, "the root cgroup is nobody's own", own ? *own : "");
}

void ChecksOfRemoval(const std::string& path, const MemoryCgroup& cgroup, Child& child) {
  child.Kill();
  Check(RemoveCgroup(path), "a cgroup with a dead process can be removed", std::strerror(errno));
  const auto dead = MemoryCgroupOf(Roots(), child.pid());
  Check(Fails(dead, Code::kGone), "a dead process in a removed cgroup is gone", Said(dead));
  const int pid = child.pid();
  child.End();
  Check(Fails(MemoryCgroupOf(Roots(), pid), Code::kGone), "a process that ended is gone");
  const auto all_gone = [&] {
    return Fails(cgroup.Usage(), Code::kGone) && Fails(cgroup.Peak(), Code::kGone) &&
           Fails(cgroup.Limit(), Code::kGone) && Fails(cgroup.Swap(), Code::kGone) &&
           Fails(cgroup.InactiveFile(), Code::kGone);
  };
  Check(all_gone(), "each figure of a removed cgroup is gone, its folder still open",
        Said(cgroup.Usage()) + ", " + Said(cgroup.Peak()) + ", " + Said(cgroup.InactiveFile()));
  mkdir(path.c_str(), 0755);
  const auto again = MemoryCgroup::Open(path);
  Check(all_gone(), "also when another has taken its name", Said(cgroup.Usage()));
  Check(again.ok() && again->Usage().ok() && again->inode() != cgroup.inode(),
        "and that one is another one", Said(again));
  RemoveCgroup(path);
}

// Runs in a process that has made a cgroup namespace of its own; 0 when all is as it should be.
int FromPrivateNamespace(int outside, const std::string& mounted) {
  const auto refused = [](const Result<std::string>& path) {
    return Fails(path, Code::kInvalid) &&
           path.error().message().find("outside this cgroup namespace") != std::string::npos;
  };
  const auto parent = MemoryCgroupOf(Roots(), getppid());
  const auto sibling = MemoryCgroupOf(Roots(), outside);
  int bad = 0;
  if (!refused(parent)) std::printf("# parent: %s\n", Said(parent).c_str()), bad = 1;
  if (!refused(sibling)) std::printf("# sibling: %s\n", Said(sibling).c_str()), bad = 1;
  // Mounted anew, as in a container, the hierarchy's root is the process's own. It may be refused,
  // as a root, but no other may stand for it.
  mkdir(mounted.c_str(), 0755);
  if (mount("cgroup2", mounted.c_str(), "cgroup2", 0, nullptr) != 0) return bad | 4;
  Roots roots;
  roots.cgroup = mounted;
  const auto own = MemoryCgroupOf(roots, getpid());
  if (own && *own != mounted) std::printf("# own: %s\n", own->c_str()), bad |= 2;
  std::fflush(stdout);
  return bad;
}

void ChecksOfNamespaces() {
  const std::string home = MakeCgroup("private");
  const std::string other = MakeCgroup("other");
  {
    const Child outside(other);
    const pid_t pid = fork();
    if (pid == 0) {
      const bool in = Write(home + "/cgroup.procs", "0") &&
                      unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0 &&
                      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
      _exit(in ? FromPrivateNamespace(outside.pid(), "/tmp/cgroup") : 64);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    const int bad = WIFEXITED(status) ? WEXITSTATUS(status) : 64;
    Check(bad < 4, "a private cgroup namespace can be made", std::to_string(bad));
    Check((bad & 1) == 0, "from there processes outside it are refused in so many words");
    Check((bad & 2) == 0, "and its own root is not mistaken for another");
  }
  RemoveCgroup(home);
  RemoveCgroup(other);
}

int Run() {
  if (!Write(kRoot + "/cgroup.subtree_control", "+memory")) {
    std::printf("Bail out! no memory controller of cgroup v2 at %s\n", kRoot.c_str());
    return 1;
  }
  const std::string path = MakeCgroup("probe");
  const auto cgroup = MemoryCgroup::Open(path);
  if (!Check(cgroup.ok(), "a cgroup opens", Said(cgroup))) return 1;
  Check(cgroup->version() == MemoryCgroup::Version::kV2, "it is version 2");
  Child child(path);
  ChecksOfPaths(path, child);
  ChecksOfFigures(path, *cgroup, child);
  ChecksOfCacheAndSwap(path, *cgroup, child);
  ChecksOfRemoval(path, *cgroup, child);
  ChecksOfNamespaces();
  std::printf("1..%d\n", checks);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ullage

int main() { return ullage::Run(); }
