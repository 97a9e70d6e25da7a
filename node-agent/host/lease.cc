// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/lease.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/interrupted_write.h"
#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kFileLimit = 4 << 20;
constexpr std::size_t kMostLeases = 16384;
constexpr std::size_t kIdLimit = 64;
constexpr std::size_t kPathLimit = 4096;
constexpr std::size_t kValueLimit = 64;
constexpr std::size_t kBeatSize = 21;  // 20 digits, the most that 64 bits have, and a line's end
constexpr int kTries = 50;
constexpr milliseconds kBetweenTries{1};
constexpr const char* kHeader = "ullage-leases 1 ";
// v1 writes "no limit" as the largest page-aligned number.
constexpr Bytes kV1NoLimit = Bytes::Max().FloorTo(Bytes::MiB(1));

bool IsId(std::string_view text) {
  if (text.empty() || text.size() > kIdLimit) return false;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!plain && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
}

bool IsPath(std::string_view text) {
  return text.starts_with('/') && text.size() <= kPathLimit &&
         text.find('\n') == std::string_view::npos && text.find('\0') == std::string_view::npos;
}

std::string Field(const std::optional<Bytes>& value) {
  return value ? std::to_string(value->count()) : "none";
}

std::optional<Bytes> Amount(std::string_view text) {
  const auto number = ParseUnsigned(text);
  if (!number || *number > static_cast<std::uint64_t>(Bytes::Max().count())) return std::nullopt;
  return Bytes(static_cast<std::int64_t>(*number));
}

bool ReadField(std::string_view text, std::optional<Bytes>& value) {
  if (text == "none") return true;
  value = Amount(text);
  return value.has_value();
}

bool ReadBalloon(std::string_view line, Leases& leases) {
  const std::string vm(TakeUntil(line, ' '));
  const auto was = Amount(line);
  return IsId(vm) && was && leases.balloons.emplace(vm, *was).second;
}

bool ReadValue(std::string_view line, Leases& leases) {
  const std::string vm(TakeUntil(line, ' '));
  const auto inode = ParseUnsigned(TakeUntil(line, ' '));
  const std::string file(TakeUntil(line, ' '));
  LeasedValue value;
  if (!ReadField(TakeUntil(line, ' '), value.was) || !ReadField(TakeUntil(line, ' '), value.last) ||
      !ReadField(TakeUntil(line, ' '), value.next)) {
    return false;
  }
  if (!IsId(vm) || !inode || !MayBeLeased(file) || !IsPath(line)) return false;
  value.inode = *inode;
  value.cgroup = line;
  return leases.values.emplace(Leases::Key{vm, file}, std::move(value)).second;
}

Status WriteAt(const Fd& folder, const std::string& name, std::string_view text,
               milliseconds longest) {
  const Fd file(openat(folder.get(), name.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return FromErrno(errno, name);
  if (longest > milliseconds(0)) {
    const auto until = std::chrono::steady_clock::now() + longest;
    const auto enough = [&] { return std::chrono::steady_clock::now() >= until; };
    const int error = WriteUntil(file.get(), text, enough);
    if (error == 0) return Ok();
    if (error != EINTR) return FromErrno(error, name);
    return Error(Code::kUnavailable, name + ": not set, too much was charged meanwhile");
  }
  ssize_t put = -1;
  do {
    put = write(file.get(), text.data(), text.size());
  } while (put < 0 && errno == EINTR);
  if (put < 0) return FromErrno(errno, name);
  return Ok();
}

// An open file's own lock (OFD): no other descriptor of this process can lose it.
struct flock WholeFile(int type) {
  struct flock lock {};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  return lock;
}

std::string BeatFile(const std::string& folder) { return folder + "/alive"; }
std::string KeeperFile(const std::string& folder) { return folder + "/keeper"; }

Result<Fd> Hold(const std::string& path, const char* otherwise) {
  Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return FromErrno(errno, path);
  struct flock lock = WholeFile(F_WRLCK);
  if (fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return file;
  if (errno == EAGAIN || errno == EACCES) return Error(Code::kExists, path + ": " + otherwise);
  return FromErrno(errno, path);
}

// Asks only: taking the lock, for however short a time, would refuse it to its owner.
Result<bool> IsHeld(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) return FromErrno(errno, path);
  struct flock lock = WholeFile(F_WRLCK);
  if (fcntl(file.get(), F_OFD_GETLK, &lock) != 0) return FromErrno(errno, path);
  return lock.l_type != F_UNLCK;
}

}  // namespace

bool MayBeLeased(std::string_view file) {
  return file == kHigh || file == kV1Limit || file == kSwapMax;
}

Result<Leases> ParseLeases(std::string_view text, std::string_view boot_id) {
  std::string_view header = TakeUntil(text, '\n');
  if (!header.starts_with(kHeader)) return Error(Code::kInvalid, "no book of leases");
  header.remove_prefix(std::string_view(kHeader).size());
  if (!IsId(header)) return Error(Code::kInvalid, "no boot id");
  Leases leases;
  if (header != boot_id) return leases;  // no cgroup of another boot is left
  while (!text.empty()) {
    std::string_view line = TakeUntil(text, '\n');
    const std::string_view kind = TakeUntil(line, ' ');
    const bool good =
        kind == "balloon" ? ReadBalloon(line, leases) : kind == "value" && ReadValue(line, leases);
    if (!good || leases.values.size() + leases.balloons.size() > kMostLeases) {
      return Error(Code::kInvalid, "an entry makes no sense");
    }
  }
  return leases;
}

Result<std::string> FormatLeases(const Leases& leases, std::string_view boot_id) {
  if (leases.values.size() + leases.balloons.size() > kMostLeases) {
    return Error(Code::kExhausted, "too many leases to remember");
  }
  std::string text = kHeader + std::string(boot_id) + "\n";
  for (const auto& [vm, was] : leases.balloons) {
    if (!IsId(vm)) return Error(Code::kInvalid, "no id of a VM: " + Printable(vm, kIdLimit));
    text.append("balloon ").append(vm).append(" ").append(std::to_string(was.count())).append("\n");
  }
  for (const auto& [key, value] : leases.values) {
    const auto& [vm, file] = key;
    if (!IsId(vm)) return Error(Code::kInvalid, "no id of a VM: " + Printable(vm, kIdLimit));
    if (!MayBeLeased(file) || !IsPath(value.cgroup)) {
      return Error(Code::kInvalid, "not to be leased: " + Printable(value.cgroup, 128));
    }
    text.append("value ").append(vm).append(" ").append(std::to_string(value.inode));
    for (const std::string& field :
         {file, Field(value.was), Field(value.last), Field(value.next), value.cgroup}) {
      text.append(" ").append(field);
    }
    text += '\n';
  }
  return text;
}

Result<LeaseBook> LeaseBook::Open(const std::string& folder, std::string boot_id) {
  LeaseBook book(folder + "/leases", std::move(boot_id));
  const Status looked = book.Look();
  if (looked) return book;
  if (looked.error().code() != Code::kInvalid) return looked.error();
  book.trouble_ = looked.error().message() + "; moved to " + book.file_ + ".bad";
  std::rename(book.file_.c_str(), (book.file_ + ".bad").c_str());
  book.version_ = {};
  return book;
}

LeaseBook::Version LeaseBook::Stat() const {
  struct stat status {};
  if (stat(file_.c_str(), &status) != 0) return {};
  return {status.st_ino, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_size};
}

Status LeaseBook::Look() {
  const Version now = Stat();
  if (now == version_) return Ok();
  const auto text = ReadFile(file_, kFileLimit);
  if (!text && text.error().code() != Code::kGone) return text.error();
  auto leases = text ? ParseLeases(*text, boot_id_) : Result<Leases>(Leases{});
  if (!leases) return leases.error().In(file_);
  leases_ = *std::move(leases);
  version_ = now;
  return Ok();
}

bool LeaseBook::Holds(const Leases::Key& key) {
  for (int tries = 0; tries < kTries; ++tries) {
    const Status looked = Change([](Leases&) {});
    if (looked) return leases_.values.contains(key);
    if (looked.error().code() != Code::kExists) return false;
    std::this_thread::sleep_for(kBetweenTries);
  }
  return false;
}

Status LeaseBook::Commit(Leases next) {
  if (next == leases_) return Ok();
  const auto text = FormatLeases(next, boot_id_);
  if (!text) return text.error();
  if (const Status written = ReplaceFile(file_, *text, 0600); !written) {
    return written.error().In("writing down what is leased");
  }
  version_ = Stat();
  leases_ = std::move(next);
  return Ok();
}

Result<LeasableFile> LeasableFile::Open(const Roots& roots, const std::string& cgroup,
                                        std::uint64_t inode, std::string_view file) {
  if (!MayBeLeased(file) || !IsPath(cgroup) || !cgroup.starts_with(roots.cgroup + "/") ||
      cgroup.find("/../") != std::string::npos || cgroup.ends_with("/..")) {
    return Error(Code::kInvalid, "not to be leased: " + Printable(cgroup, 128));
  }
  auto folder = OpenDirectory(cgroup);
  if (!folder) return folder.error();
  const auto found = Inode(*folder);
  if (!found) return found.error();
  if (inode != 0 && *found != inode) {
    return Error(Code::kGone, Printable(cgroup, 128) + ": another cgroup has its name");
  }
  return LeasableFile(*std::move(folder), std::string(file), *found);
}

Result<std::optional<Bytes>> LeasableFile::Read() const {
  const auto text = ReadFileAt(folder_.get(), file_.c_str(), kValueLimit);
  if (!text) return text.error();
  auto value = ParseLimit(*text);
  if (!value) return value.error().In(file_);
  if (*value && **value >= kV1NoLimit) return std::optional<Bytes>();
  return value;
}

Status LeasableFile::Write(std::optional<Bytes> value, milliseconds longest) const {
  const std::string none = file_ == kV1Limit ? "-1" : "max";
  return WriteAt(folder_, file_, value ? std::to_string(value->count()) : none, longest);
}

Result<Undone> Undo(const Roots& roots, std::string_view file, const LeasedValue& lease) {
  const auto target = LeasableFile::Open(roots, lease.cgroup, lease.inode, file);
  if (!target) {
    if (target.error().code() == Code::kGone) return Undone::kGone;
    return target.error();
  }
  const auto stands = target->Read();
  if (!stands) {
    if (stands.error().code() == Code::kGone) return Undone::kGone;
    return stands.error();
  }
  if (*stands != lease.last && *stands != lease.next) {
    return *stands == lease.was ? Undone::kRestored : Undone::kYielded;
  }
  if (const Status written = target->Write(lease.was); !written) {
    if (written.error().code() == Code::kGone) return Undone::kGone;
    return written.error();
  }
  return Undone::kRestored;
}

Result<Heartbeat> Heartbeat::Begin(const std::string& folder) {
  auto file = Hold(BeatFile(folder), "another ullage-agent lives");
  if (!file) return file.error();
  return Heartbeat(*std::move(file));
}

Result<Fd> KeeperLock(const std::string& folder) {
  return Hold(KeeperFile(folder), "another ullage-lease is there");
}

bool KeeperLives(const std::string& folder) {
  const auto held = IsHeld(KeeperFile(folder));
  return held && *held;
}

Status Heartbeat::Beat(BootTime now) const {
  std::array<char, kBeatSize + 1> text{};
  std::snprintf(text.data(), text.size(), "%020lld\n",
                static_cast<long long>(now.time_since_epoch().count()));
  if (pwrite(file_.get(), text.data(), kBeatSize, 0) == kBeatSize) return Ok();
  return FromErrno(errno, "the sign of life");
}

Result<Pulse> FeelPulse(const std::string& folder) {
  const std::string path = BeatFile(folder);
  const auto held = IsHeld(path);
  if (!held && held.error().code() == Code::kGone) return Pulse{};
  if (!held) return held.error();
  Pulse pulse;
  pulse.held = *held;
  const auto text = ReadFile(path, kValueLimit);
  if (!text) return text.error();
  std::string_view digits(*text);
  if (digits.ends_with('\n')) digits.remove_suffix(1);
  while (digits.size() > 1 && digits.starts_with('0')) digits.remove_prefix(1);
  if (const auto beat = Amount(digits)) {
    pulse.beat = BootTime(std::chrono::nanoseconds(beat->count()));
  }
  return pulse;
}

}  // namespace ullage::host
