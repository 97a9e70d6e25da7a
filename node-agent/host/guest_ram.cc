// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/guest_ram.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kMapsLimit = std::size_t{4} << 20;
constexpr std::size_t kRangesLimit = 1024;
constexpr std::uint64_t kAddressLimit = std::uint64_t{1} << 57;  // five levels of page tables
constexpr std::uint64_t kLeast = std::uint64_t{16} << 20;        // no guest's memory is smaller
constexpr std::size_t kVectors = 1024;                           // IOV_MAX

std::optional<std::uint64_t> ParseAddress(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value >= kAddressLimit || value % kPage != 0) return std::nullopt;
  return value;
}

bool IsMemoryName(std::string_view name) {
  if (name.empty() || name.starts_with("/memfd:")) return true;
  // Kernels that name anonymous mappings; newer C libraries name their own so.
  return name.starts_with("[anon:") && name.find("glibc") == std::string_view::npos;
}

// One line; absent where it cannot be a guest's memory.
Result<std::optional<AddressRange>> ParseLine(std::string_view line) {
  AddressRange range;
  const auto begin = ParseAddress(TakeUntil(line, '-'));
  const auto end = ParseAddress(TakeUntil(line, ' '));
  // vsyscall lies above all that a process may map.
  if (!begin || !end) {
    if (line.ends_with("[vsyscall]")) return std::optional<AddressRange>();
    return Error(Code::kInvalid, "a line without two addresses");
  }
  range = {*begin, *end};
  if (range.begin >= range.end)
    return Error(Code::kInvalid, "a mapping that ends before it begins");
  const std::string_view rights = TakeUntil(line, ' ');
  for (int field = 0; field < 3; ++field) TakeUntil(line, ' ');  // offset, device, inode
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  if (!rights.starts_with("rw-") || !IsMemoryName(line)) return std::optional<AddressRange>();
  return std::optional(range);
}

Result<Fd> OpenPidfd(std::int32_t pid) {
  Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return FromErrno(errno, "pidfd_open");
  return fd;
}

}  // namespace

Result<std::vector<AddressRange>> ParseGuestRam(std::string_view maps, Bytes guest_memory) {
  std::vector<AddressRange> found;
  while (!maps.empty()) {
    const auto range = ParseLine(TakeUntil(maps, '\n'));
    if (!range) return range.error();
    if (!*range) continue;
    // One memory shows as several mappings once parts of it were advised differently.
    if (!found.empty() && found.back().end == (*range)->begin) {
      found.back().end = (*range)->end;
    } else {
      found.push_back(**range);
    }
  }
  std::erase_if(found, [](const AddressRange& range) { return range.size() < kLeast; });
  std::stable_sort(found.begin(), found.end(), [](const AddressRange& a, const AddressRange& b) {
    return a.size() > b.size();
  });
  const auto wanted = static_cast<std::uint64_t>(std::max<std::int64_t>(guest_memory.count(), 0));
  std::uint64_t covered = 0;
  std::size_t kept = 0;
  while (kept < found.size() && kept < kRangesLimit && covered < wanted) {
    covered += found[kept++].size();
  }
  found.resize(kept);
  if (found.empty() || covered < wanted / 2) {
    return Error(Code::kNotFound, "no anonymous mappings as large as the guest (huge pages?)");
  }
  std::sort(found.begin(), found.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  return found;
}

Result<std::unique_ptr<GuestMemory>> QemuMemory::Open(const Roots& roots, const VmProcess& vm) {
  const std::string name = "process " + std::to_string(vm.pid);
  const auto process = Process::Open(roots, vm.pid);
  if (!process) return process.error();
  auto pidfd = OpenPidfd(vm.pid);
  if (!pidfd) return pidfd.error().In(name);
  const auto cgroup = MemoryCgroupOf(roots, vm.pid);
  if (!cgroup) return cgroup.error();
  const auto charged = MemoryCgroup::Open(*cgroup);
  if (!charged) return charged.error();
  const auto expected = MemoryCgroup::Open(vm.cgroup);
  if (!expected) return expected.error();
  if (charged->inode() != expected->inode()) {
    return Error(Code::kInvalid, name + ": is not in the VM's memory cgroup");
  }
  const auto maps = ReadFileAt(process->folder().get(), "maps", kMapsLimit);
  if (!maps) return maps.error().In(name);
  auto ranges = ParseGuestRam(*maps, vm.guest_memory).In("maps").In(name);
  if (!ranges) return ranges.error();
  Fd pagemap(openat(process->folder().get(), "pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return FromErrno(errno, "pagemap").In(name);
  // The folder is that process's for good. That it still runs says that the number, by which
  // pidfd and cgroup were found, was its own all along.
  if (const Status runs = process->Runs(); !runs) return runs.error();
  return std::unique_ptr<GuestMemory>(
      new QemuMemory(*std::move(pidfd), std::move(pagemap), *std::move(ranges)));
}

Result<std::vector<PageEntry>> QemuMemory::Pages(AddressRange range) {
  std::vector<PageEntry> pages(range.size() / kPage);
  static_assert(sizeof(PageEntry) == sizeof(std::uint64_t));
  const std::size_t size = pages.size() * sizeof(PageEntry);
  const auto offset = static_cast<off_t>(range.begin / kPage * sizeof(PageEntry));
  const ssize_t got = pread(pagemap_.get(), pages.data(), size, offset);
  if (got < 0) return FromErrno(errno, "pagemap");
  // It is empty once the process has ended.
  if (static_cast<std::size_t>(got) != size) return Error(Code::kGone, "pagemap: ends early");
  return pages;
}

Status QemuMemory::Advise(const std::vector<AddressRange>& ranges, Advice advice) {
  std::vector<iovec> vectors;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address of another process
    vectors.push_back({reinterpret_cast<void*>(ranges[i].begin), ranges[i].size()});
    if (vectors.size() < kVectors && i + 1 < ranges.size()) continue;
    const auto done = syscall(SYS_process_madvise, pidfd_.get(), vectors.data(), vectors.size(),
                              static_cast<int>(advice), 0);
    if (done < 0) return FromErrno(errno, "process_madvise");
    vectors.clear();
  }
  return Ok();
}

}  // namespace ullage::host
