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
#include "node-agent/host/cgroup_namespace.h"

namespace ullage {
namespace {

using host::MemoryCgroup;
using host::MemoryCgroupOf;
using host::Roots;

constexpr std::int64_t kTouched = std::int64_t{64} << 20;
// The kernel charges in batches of 64 pages a CPU, and the child has pages of its own.
constexpr std::int64_t kSlack = std::int64_t{4} << 20;
const std::string kRoot = "/sys/fs/cgroup";
// An agent's container and a launcher's, as the kubelet and CRI-O (with crun) lay them out.
const std::string kUid = "460c5c93-8784-4c49-862e-0612f852352e";
const std::string kBurstable = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod";
const std::string kHome =
    kBurstable + "460c5c93_8784_4c49_862e_0612f852352e.slice/crio-1.scope/container";
const std::string kOther =
    "/kubepods.slice/kubepods-pod11111111_2222_4333_8444_555555555555.slice/crio-2.scope";

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

// Runs there, too: with the host's hierarchy in sight, as an agent's pod mounts it, and the pod's
// UID, each process is found. 0 or 8.
int ResolvedFromPrivateNamespace(int outside) {
  Roots roots;
  const auto root = host::CgroupNamespaceRoot(roots, kUid, getpid());
  if (!root || *root != kHome) {
    std::printf("# namespace: %s\n", root ? root->c_str() : Said(root).c_str());
    return 8;
  }
  roots.cgroup_namespace = *root;
  const auto own = MemoryCgroupOf(roots, getpid());
  const auto sibling = MemoryCgroupOf(roots, outside);
  const auto parent = MemoryCgroupOf(roots, getppid());
  if (own && *own == kRoot + kHome && sibling && *sibling == kRoot + kOther && !parent) return 0;
  std::printf("# resolved: %s, %s, %s\n", own ? own->c_str() : Said(own).c_str(),
              sibling ? sibling->c_str() : Said(sibling).c_str(), Said(parent).c_str());
  return 8;
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
  bad |= ResolvedFromPrivateNamespace(outside);
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

// `path` below the root, each folder on the way counting memory.
void MakeCgroups(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    Write(MakeCgroup(path.substr(1, at - 1)) + "/cgroup.subtree_control", "+memory");
  }
  MakeCgroup(path.substr(1));
}
// Up to `end`, which stays.
void RemoveCgroups(std::string path, const std::string& end) {
  for (; path != end; path.resize(path.rfind('/'))) RemoveCgroup(kRoot + path);
}

void ChecksOfNamespaces() {
  MakeCgroups(kHome);
  MakeCgroups(kOther);
  {
    const Child outside(kRoot + kOther);
    const pid_t pid = fork();
    if (pid == 0) {
      const bool in = Write(kRoot + kHome + "/cgroup.procs", "0") &&
                      unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0 &&
                      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
      _exit(in ? FromPrivateNamespace(outside.pid(), "/tmp/cgroup") : 64);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    const int bad = WIFEXITED(status) ? WEXITSTATUS(status) : 64;
    Check((bad & (4 | 64)) == 0, "a private cgroup namespace can be made", std::to_string(bad));
    Check((bad & 1) == 0, "from there processes outside it are refused in so many words");
    Check((bad & 2) == 0, "and its own root is not mistaken for another");
    Check((bad & 8) == 0, "but found by who knows his pod's UID and sees the host's hierarchy");
  }
  RemoveCgroups(kOther, "/kubepods.slice");
  RemoveCgroups(kHome, "");
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
