// SPDX-License-Identifier: Apache-2.0
// The only program of a guest whose kernel has what a probe of the working set needs: is what
// another process uses judged hot, and what it leaves alone cold? Prints TAP on the console.
// Argument: idle or damon.
#include <fcntl.h>
#include <poll.h>
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
#include <thread>

#include "node-agent/sources/block_sampler.h"
#include "node-agent/sources/damon_marks.h"
#include "node-agent/sources/page_marks.h"
#include "node-agent/sources/working_set.h"

namespace ullage {
namespace {

using host::AddressRange;

constexpr std::uint64_t kHuge = std::uint64_t{2} << 20;
constexpr std::uint64_t kHalf = std::uint64_t{16} << 20;
constexpr std::uint64_t kBegin = std::uint64_t{1} << 40;  // alone there
constexpr seconds kColdAfter{120};
constexpr seconds kShortly{9};
const std::string kRoot = "/sys/fs/cgroup";
const std::string kDamon = "/sys/kernel/mm/damon/admin/kdamonds/";

enum class Kind : std::uint8_t { kAnonymous, kMemfd, kHugePages };
const char* Name(Kind kind) {
  constexpr const char* kNames[] = {"anonymous", "memfd", "huge-pages"};
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

std::string Read(const std::string& path) {
  std::string text;
  std::getline(std::ifstream(path), text);
  return text;
}

// Stands for a QEMU: a process in a cgroup of its own whose memory is touched as it is told.
class Guest {
 public:
  explicit Guest(Kind kind) : kind_(kind), cgroup_(kRoot + "/" + Name(kind)) {
    mkdir(cgroup_.c_str(), 0755);
    if (pipe(orders_) != 0 || pipe(answers_) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) Serve();
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
    return {{Name(kind_)}, pid_, cgroup_, Bytes(static_cast<std::int64_t>(2 * kHalf))};
  }
  /// The first `size` bytes, each page of them: once, or until it is told otherwise.
  void Touch(std::uint64_t size) { Order({size, false}); }
  void Use(std::uint64_t size) { Order({size, true}); }
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
  struct What {
    std::uint64_t size = 0;
    bool again = false;
  };
  void Order(What what) {
    char answer = 0;
    if (write(orders_[1], &what, sizeof what) != sizeof what || read(answers_[0], &answer, 1) != 1)
      std::abort();
  }
  [[noreturn]] void Serve() {
    if (!Write(cgroup_ + "/cgroup.procs", "0")) _exit(1);
    const bool memfd = kind_ == Kind::kMemfd;
    const int fd = memfd ? memfd_create("guest", 0) : -1;
    if (memfd && ftruncate(fd, 2 * kHalf) != 0) _exit(1);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): where nothing else is
    auto* memory = static_cast<volatile char*>(
        mmap(reinterpret_cast<void*>(kBegin), 2 * kHalf, PROT_READ | PROT_WRITE,
             MAP_FIXED_NOREPLACE | (memfd ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), fd, 0));
    if (memory == MAP_FAILED) _exit(1);
    madvise(const_cast<char*>(memory), 2 * kHalf,
            kind_ == Kind::kHugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    What what;
    while (read(orders_[0], &what, sizeof what) == sizeof what) {
      pollfd order{orders_[0], POLLIN, 0};
      bool answered = false;
      do {
        // Not read before: that would map the kernel's page of zeros.
        for (std::uint64_t at = 0; at < what.size; at += host::kPage) memory[at] = 1;
        if (!answered && write(answers_[1], "", 1) != 1) _exit(1);
        answered = true;
      } while (what.again && poll(&order, 1, 50) == 0);
    }
    _exit(0);
  }

  Kind kind_;
  std::string cgroup_;
  int orders_[2] = {-1, -1};
  int answers_[2] = {-1, -1};
  int pid_ = -1;
};

// A sampler of one guest, whose clock stands unless it is told otherwise.
class Looks {
 public:
  Looks(std::unique_ptr<host::GuestMemory> memory, sources::PageMarks& marks,
        seconds cold_after = kColdAfter)
      : sampler_(std::move(memory), marks, cold_after, 1) {}
  /// Looks at all that is due. False: it failed.
  bool Round(BootTime now) {
    now_ = now;
    return Round();
  }
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
  Guest guest(kind);
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
  std::string why;
  const auto probe = sources::ChooseProbe(host::Roots(), clock, kColdAfter, why);
  Check(probe && std::string(probe->Name()) == "idle-page", "the agent chooses it");
  Check(why.find("Linux 6.2") != std::string::npos,
        "this kernel's DAMON is too old, and it is said", why);
  Check(Read(kDamon + "nr_kdamonds") == "0", "which is left as it was");
}

bool Eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 1800; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(100));
  }
  return false;
}

// By the clock, of three guests that use half of what they have.
void ChecksOfDamon(sources::PageMarks& marks, const host::Clock& clock) {
  std::vector<std::unique_ptr<Guest>> guests;
  std::vector<std::unique_ptr<Looks>> looks;
  for (const Kind kind : {Kind::kAnonymous, Kind::kMemfd, Kind::kHugePages}) {
    guests.push_back(std::make_unique<Guest>(kind));
    guests.back()->Use(kHalf);
    auto memory = host::QemuMemory::Open(host::Roots(), guests.back()->process());
    if (!Opened(memory, std::string("its memory opens (") + Name(kind) + ")")) return;
    looks.push_back(std::make_unique<Looks>(*std::move(memory), marks, kShortly));
  }
  const long huge = guests.back()->HugePages();
  const auto come_to = [&](Looks& one, const std::function<bool(const WorkingSet&)>& what) {
    return Eventually([&] {
      for (const auto& each : looks) each->Round(clock.Now().boot);
      return what(one.Latest());
    });
  };
  for (std::size_t i = 0; i < looks.size(); ++i) {
    const std::string of = " (" + guests[i]->process().id.value + ")";
    Check(come_to(*looks[i], [](const WorkingSet& set) { return set.cold == Bytes(kHalf); }),
          "as much as is not used is cold" + of, Told(looks[i]->Latest()));
    Check(CoverExactly(looks[i]->TakeCold(), {kBegin + kHalf, kBegin + 2 * kHalf}),
          "and that half is what is named" + of);
  }
  Check(huge == long{2 * kHalf / 1024} && guests.back()->HugePages() == huge,
        "no page was split by being looked at", std::to_string(huge));
  guests[0]->Use(2 * kHalf);
  Check(come_to(*looks[0], [](const WorkingSet& set) { return set.active == Permyriad{10000}; }),
        "what wakes up is hot", Told(looks[0]->Latest()));
}

// Another one of ours, which is killed while it looks.
void LeaveOne() {
  int ready[2];
  if (pipe(ready) != 0) std::abort();
  const pid_t pid = fork();
  if (pid == 0) {
    auto damon = sources::Damon::Open(host::Roots().mm, milliseconds(100), 10);
    const bool looks = damon.ok() && (*damon)->Watch({4096}).ok();
    (void)!write(ready[1], looks ? "y" : "n", 1);
    pause();
  }
  char looks = 'n';
  Check(read(ready[0], &looks, 1) == 1 && looks == 'y', "an agent looks by DAMON");
  std::string why;
  const host::SystemClock clock;
  Check(sources::ChooseProbe(host::Roots(), clock, kColdAfter, why) == nullptr &&
            why.find("another program") != std::string::npos,
        "while it lives no other one does", why);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  Check(Read(kDamon + "0/state") == "on", "killed, it leaves DAMON on");
}

void RunDamon() {
  const host::SystemClock clock;
  std::string why;
  LeaveOne();
  {
    const auto probe = sources::ChooseProbe(host::Roots(), clock, kColdAfter, why);
    Check(probe && std::string(probe->Name()) == "damon", "the next agent takes it over", why);
    Check(Read(kDamon + "0/state") == "off", "and ends what was left");
  }
  {
    // It may take all the time that there is: an emulated guest's is little.
    auto marks = sources::DamonMarks::Open(host::Roots(), clock, kShortly, 1);
    if (Opened(marks, "DAMON opens again")) ChecksOfDamon(**marks, clock);
  }
  Check(Read(kDamon + "nr_kdamonds") == "0", "at its end it gives DAMON back");
  Check(Write(kDamon + "nr_kdamonds", "1"), "another program takes it");
  Check(sources::ChooseProbe(host::Roots(), clock, kColdAfter, why) == nullptr &&
            why.find("another program") != std::string::npos,
        "then the agent does not", why);
  Check(Read(kDamon + "nr_kdamonds") == "1", "and leaves it alone");
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
  if (what == "damon") RunDamon();
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
