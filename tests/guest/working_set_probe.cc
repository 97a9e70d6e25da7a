// SPDX-License-Identifier: Apache-2.0
// The only program of a guest whose kernel has what a probe of the working set needs: is what
// another process uses judged hot, and what it leaves alone cold? Prints TAP on the console.
// Argument: idle.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "node-agent/sources/block_sampler.h"
#include "node-agent/sources/page_marks.h"
#include "node-agent/sources/working_set.h"

namespace ullage {
namespace {

using host::AddressRange;

constexpr std::uint64_t kHuge = std::uint64_t{2} << 20;
constexpr std::uint64_t kHalf = std::uint64_t{16} << 20;
constexpr std::uint64_t kBegin = std::uint64_t{1} << 40;  // alone there
constexpr seconds kColdAfter{120};
const std::string kRoot = "/sys/fs/cgroup";

enum class Kind : std::uint8_t { kAnonymous, kMemfd, kHugePages };
const char* Name(Kind kind) {
  constexpr const char* kNames[] = {"anonymous", "memfd", "huge pages"};
  return kNames[static_cast<std::size_t>(kind)];
}

int checks = 0;
int failures = 0;

bool Check(bool good, const std::string& what, const std::string& seen = "") {
  std::printf("%s %d - %s\n", good ? "ok" : "not ok", ++checks, what.c_str());
  if (!good && !seen.empty()) std::printf("# %s\n", seen.c_str());
  failures += good ? 0 : 1;
  return good;
}
template <typename T>
bool Opened(const Result<T>& result, const std::string& what) {
  return Check(result.ok(), what, result ? "" : result.error().message());
}

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// Stands for a QEMU: a process in a cgroup of its own whose memory is touched when it is told so.
class Guest {
 public:
  Guest(std::string cgroup, Kind kind) : cgroup_(std::move(cgroup)) {
    mkdir(cgroup_.c_str(), 0755);
    if (pipe(orders_) != 0 || pipe(answers_) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) Serve(kind);
    Touch(2 * kHalf);
  }
  ~Guest() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    for (const int fd : {orders_[0], orders_[1], answers_[0], answers_[1]}) close(fd);
    rmdir(cgroup_.c_str());
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  host::VmProcess process() const {
    return {{"vm"}, pid_, cgroup_, Bytes(static_cast<std::int64_t>(2 * kHalf))};
  }
  /// The first `size` bytes, each page of them.
  void Touch(std::uint64_t size) {
    char answer = 0;
    if (write(orders_[1], &size, sizeof size) != sizeof size || read(answers_[0], &answer, 1) != 1)
      std::abort();
  }
  /// KiB of its memory that are huge pages.
  long HugePages() const {
    std::ifstream smaps("/proc/" + std::to_string(pid_) + "/smaps");
    long sum = 0;
    for (std::string line; std::getline(smaps, line);) {
      if (line.starts_with("AnonHugePages:")) sum += std::atol(line.c_str() + 14);
    }
    return sum;
  }

 private:
  [[noreturn]] void Serve(Kind kind) {
    if (!Write(cgroup_ + "/cgroup.procs", "0")) _exit(1);
    const bool memfd = kind == Kind::kMemfd;
    const int fd = memfd ? memfd_create("guest", 0) : -1;
    if (memfd && ftruncate(fd, 2 * kHalf) != 0) _exit(1);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): where nothing else is
    auto* memory = static_cast<volatile char*>(
        mmap(reinterpret_cast<void*>(kBegin), 2 * kHalf, PROT_READ | PROT_WRITE,
             MAP_FIXED_NOREPLACE | (memfd ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), fd, 0));
    if (memory == MAP_FAILED) _exit(1);
    madvise(const_cast<char*>(memory), 2 * kHalf,
            kind == Kind::kHugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    std::uint64_t size = 0;
    while (read(orders_[0], &size, sizeof size) == sizeof size) {
      // Not read before: that would map the kernel's page of zeros.
      for (std::uint64_t at = 0; at < size; at += host::kPage) memory[at] = 1;
      if (write(answers_[1], "", 1) != 1) break;
    }
    _exit(0);
  }

  std::string cgroup_;
  int orders_[2] = {-1, -1};
  int answers_[2] = {-1, -1};
  int pid_ = -1;
};

// A sampler of one guest, whose clock stands unless it is told otherwise.
class Looks {
 public:
  Looks(std::unique_ptr<host::GuestMemory> memory, sources::PageMarks& marks)
      : sampler_(std::move(memory), marks, kColdAfter, 1) {}
  /// Looks at all that is due. False: it failed.
  bool Round() {
    for (;;) {
      const auto stepped = sampler_.Step(now_);
      if (!stepped) {
        std::printf("# %s\n", stepped.error().message().c_str());
        return false;
      }
      if (!*stepped) return true;
    }
  }
  void Pass() { now_ += kColdAfter; }
  WorkingSet Latest() const { return sampler_.Latest(); }
  std::vector<AddressRange> TakeCold() {
    return sampler_.TakeCold(Bytes(static_cast<std::int64_t>(2 * kHalf)), now_);
  }

 private:
  sources::BlockSampler sampler_;
  BootTime now_{};
};

std::string Told(const WorkingSet& set) {
  return "cold " + (set.cold ? std::to_string(set.cold->count()) : "-") + ", active " +
         (set.active ? std::to_string(set.active->value) : "-") + " " + set.fault;
}
bool Tells(const WorkingSet& set, std::uint64_t cold, std::int64_t active) {
  return set.cold == Bytes(static_cast<std::int64_t>(cold)) && set.active == Permyriad{active};
}

bool CoverExactly(std::vector<AddressRange> ranges, AddressRange whole) {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  for (const AddressRange& range : ranges) {
    if (range.begin != whole.begin) return false;
    whole.begin = range.end;
  }
  return whole.begin == whole.end;
}

void ChecksOfIdlePages(sources::PageMarks& marks, Kind kind) {
  const std::string of = std::string(" (") + Name(kind) + ")";
  Guest guest(kRoot + "/vm", kind);
  const long huge = guest.HugePages();
  Check(huge == (kind == Kind::kHugePages ? long{2 * kHalf / 1024} : 0), "its pages are that" + of,
        std::to_string(huge) + " KiB are huge");
  auto memory = host::QemuMemory::Open(host::Roots(), guest.process());
  if (!Opened(memory, "its memory opens" + of)) return;
  Looks looks(*std::move(memory), marks);
  Check(looks.Round() && !looks.Latest().cold, "nothing is known at first" + of);
  guest.Touch(kHalf);
  looks.Pass();
  Check(looks.Round() && Tells(looks.Latest(), kHalf, 5000),
        "the half in use is hot, the other is cold" + of, Told(looks.Latest()));
  Check(CoverExactly(looks.TakeCold(), {kBegin + kHalf, kBegin + 2 * kHalf}),
        "the other is what is named" + of);
  looks.Pass();
  looks.Round();
  guest.Touch(2 * kHalf);
  looks.Pass();
  Check(looks.Round() && Tells(looks.Latest(), 0, 10000), "what wakes up is hot" + of,
        Told(looks.Latest()));
  looks.Pass();
  Check(looks.Round() && looks.Latest().cold == Bytes(2 * kHalf), "what falls asleep is cold" + of,
        Told(looks.Latest()));
  Check(guest.HugePages() == huge, "no page was split by being looked at" + of,
        std::to_string(guest.HugePages()));
}

void RunIdle() {
  auto marks = sources::IdleMarks::Open(host::Roots());
  if (!Opened(marks, "idle page tracking opens")) return;
  for (const Kind kind : {Kind::kAnonymous, Kind::kMemfd, Kind::kHugePages}) {
    ChecksOfIdlePages(**marks, kind);
  }
  const host::SystemClock clock;
  const auto probe = sources::ChooseProbe(host::Roots(), clock, kColdAfter);
  Check(probe && std::string(probe->Name()) == "idle-page", "the agent chooses it");
}

void Perform(const std::string& what) {
  if (mount("proc", "/proc", "proc", 0, nullptr) != 0 ||
      mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0 ||
      mount("cgroup2", kRoot.c_str(), "cgroup2", 0, nullptr) != 0 ||
      !Write(kRoot + "/cgroup.subtree_control", "+memory")) {
    std::perror("Bail out! this is no guest of its own");
    return;
  }
  if (what == "idle") RunIdle();
  std::printf("1..%d\n", checks);
}

}  // namespace
}  // namespace ullage

int main(int argc, char** argv) {
  if (getpid() != 1) {
    std::fputs("it is the init of a guest, nothing else\n", stderr);
    return 2;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  // The last one: the kernel hands on what it does not know itself, too.
  ullage::Perform(argv[argc - 1]);
  std::fflush(stdout);
  tcdrain(1);
  reboot(RB_AUTOBOOT);
}
