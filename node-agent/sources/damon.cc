// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/damon.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "node-agent/host/guest_ram.h"
#include "node-agent/host/text.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kNumber = 64;  // bytes of a file that holds one
constexpr const char* kContext = "/0/contexts/0";
constexpr const char* kScheme = "/0/contexts/0/schemes/0";
// Nobody weighs so by chance, and a scheme without a quota does not look at it ("ulla").
constexpr const char* kMark = "/0/contexts/0/schemes/0/quotas/weights/sz_permil";
constexpr const char* kMarked = "1970039905";
// Another command, or a reader of the state, may be under way.
constexpr int kTries = 200;
constexpr milliseconds kBusy{50};

Status WriteFile(int directory, const std::string& name, const std::string& text) {
  const host::Fd file(openat(directory, name.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file.valid()) return host::FromErrno(errno, name);
  for (int tries = 0; write(file.get(), text.data(), text.size()) < 0; ++tries) {
    if (errno != EBUSY || tries == kTries) return host::FromErrno(errno, name);
    std::this_thread::sleep_for(kBusy);
  }
  return Ok();
}
Status WriteFile(const std::string& path, const std::string& text) {
  return WriteFile(AT_FDCWD, path, text);
}

Result<std::uint64_t> ReadNumber(int directory, const std::string& name) {
  const auto text = host::ReadFileAt(directory, name.c_str(), kNumber);
  if (!text) return text.error();
  const auto number = host::ParseUnsigned(*text);
  if (!number) return Error(Code::kInvalid, name + ": '" + host::Printable(*text) + "'");
  return *number;
}

Error Others() { return {Code::kExists, "damon: another program uses it"}; }

// Whoever holds it is a living agent: what has its mark and no such owner was left by a dead one.
Result<host::Fd> Lock(const std::string& file) {
  host::Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return host::FromErrno(errno, file);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  return errno == EWOULDBLOCK ? Others() : host::FromErrno(errno, file);
}

Status EndWhatWasLeft(const std::string& folder) {
  const auto mark = host::ReadFile(folder + kMark, kNumber);
  if (!mark || mark->substr(0, mark->find('\n')) != kMarked) return Others();
  (void)WriteFile(folder + "/0/state", "off");  // it may be off
  return WriteFile(folder + "/nr_kdamonds", "0");
}

}  // namespace

Result<std::unique_ptr<FrameWatch>> Damon::Open(const std::string& mm, milliseconds interval,
                                                std::uint32_t intervals) {
  const std::string folder = mm + "/damon/admin/kdamonds";
  const std::string count = folder + "/nr_kdamonds";
  const auto present = ReadNumber(AT_FDCWD, count);
  if (!present) return present.error();
  if (*present > 1) return Others();
  auto lock = Lock(count);
  if (!lock) return lock.error();
  if (*present == 1) {
    if (const Status ended = EndWhatWasLeft(folder); !ended) return ended.error();
  }
  if (const Status made = WriteFile(count, "1"); !made) return made.error();
  std::unique_ptr<Damon> damon(new Damon(folder, *std::move(lock)));
  if (const Status set = damon->SetUp(interval, intervals); !set) return set.error();
  return std::unique_ptr<FrameWatch>(std::move(damon));
}

Damon::~Damon() {
  if (on_) (void)Command("off");
  (void)WriteFile(folder_ + "/nr_kdamonds", "0");
}

Status Damon::SetUp(milliseconds interval, std::uint32_t intervals) const {
  const std::string context = folder_ + kContext;
  const std::string scheme = folder_ + kScheme;
  const std::string every = std::to_string(std::chrono::microseconds(interval).count());
  const std::string most = std::to_string(kMost);
  const std::string page = std::to_string(host::kPage);
  // The mark as early as can be: without it, what is left is nobody's.
  const std::pair<std::string, std::string> values[] = {
      {folder_ + "/0/contexts/nr_contexts", "1"},
      {context + "/schemes/nr_schemes", "1"},
      {folder_ + kMark, kMarked},
      {context + "/operations", "paddr"},
      {context + "/targets/nr_targets", "1"},
      // One sample makes an aggregate, so an age counts looks that found nothing, without a gap.
      {context + "/monitoring_attrs/intervals/sample_us", every},
      {context + "/monitoring_attrs/intervals/aggr_us", every},
      {context + "/monitoring_attrs/intervals/update_us", every},
      {context + "/monitoring_attrs/nr_regions/max", most},
      {context + "/monitoring_attrs/nr_regions/min", most},
      {scheme + "/action", "stat"},
      {scheme + "/access_pattern/sz/min", page},
      {scheme + "/access_pattern/sz/max", page},
      {scheme + "/access_pattern/nr_accesses/min", "0"},
      {scheme + "/access_pattern/nr_accesses/max", "0"},
      {scheme + "/access_pattern/age/min", std::to_string(intervals)},
      {scheme + "/access_pattern/age/max", std::to_string(UINT32_MAX)},
  };
  for (const auto& [path, value] : values) {
    if (Status written = WriteFile(path, value); !written) return written;
  }
  if (access((scheme + "/tried_regions").c_str(), R_OK | X_OK) != 0) {
    return Error(Code::kGone, "damon: it does not name regions, which Linux 6.2 does");
  }
  return Ok();
}

Status Damon::Command(const char* command) const {
  return WriteFile(folder_ + "/0/state", command);
}

Result<bool> Damon::Runs() const {
  for (int tries = 0;; ++tries) {
    const auto state = host::ReadFile(folder_ + "/0/state", kNumber);
    if (state) return state->starts_with("on");
    if (tries == kTries) return state.error();
    std::this_thread::sleep_for(kBusy);
  }
}

Status Damon::WriteRegions(const std::vector<std::uint64_t>& frames) const {
  const std::string path = folder_ + kContext + "/targets/0/regions";
  const auto regions = host::OpenDirectory(path);
  if (!regions) return regions.error();
  const int folder = regions->get();
  Status written = WriteFile(folder, "nr_regions", std::to_string(frames.size()));
  for (std::size_t i = 0; i < frames.size() && written; ++i) {
    const std::string region = std::to_string(i);
    const std::uint64_t address = frames[i] * host::kPage;
    written = WriteFile(folder, region + "/start", std::to_string(address));
    if (written)
      written = WriteFile(folder, region + "/end", std::to_string(address + host::kPage));
  }
  return written;
}

Status Damon::Watch(const std::vector<std::uint64_t>& frames) {
  if (frames.size() > kMost) return Error(Code::kInvalid, "damon: too many frames");
  if (frames.empty()) {
    if (on_) (void)Command("off");
    on_ = false;
    return Ok();
  }
  if (Status written = WriteRegions(frames); !written) return written;
  // It ends by itself where it is out of memory.
  const auto runs = Runs();
  if (!runs) return runs.error();
  Status done = Command(*runs ? "commit" : "on");
  on_ = on_ || done.ok();
  return done;
}

Result<std::vector<std::uint64_t>> Damon::Untouched() {
  if (const Status done = Command("update_schemes_tried_regions"); !done) return done.error();
  const std::string path = folder_ + kScheme + "/tried_regions";
  const auto folder = host::OpenDirectory(path);
  if (!folder) return folder.error();
  DIR* entries = fdopendir(dup(folder->get()));
  if (entries == nullptr) return host::FromErrno(errno, path);
  std::vector<std::uint64_t> frames;
  Status good = Ok();
  while (const dirent* entry = good ? readdir(entries) : nullptr) {
    const std::string name = entry->d_name;
    if (!host::ParseUnsigned(name)) continue;
    const auto start = ReadNumber(folder->get(), name + "/start");
    if (!start) {
      good = start.error();
    } else if (frames.size() < kMost) {
      frames.push_back(*start / host::kPage);
    }
  }
  closedir(entries);
  if (!good) return good.error();
  return frames;
}

}  // namespace ullage::sources
