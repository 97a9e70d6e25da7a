// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/host/process.h"
#include "node-agent/model/bytes.h"
#include "node-agent/model/vm.h"

namespace ullage::host {

inline constexpr std::uint64_t kPage = 4096;

/// Addresses of another process, both on page boundaries.
struct AddressRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const { return end - begin; }
  bool operator==(const AddressRange&) const = default;
};

/// A VM whose memory the host may look at and take: which process, and what proves that it is the
/// one (a pid alone is reused).
struct VmProcess {
  VmId id;
  std::int32_t pid = 0;
  std::string cgroup;  ///< absolute path of the memory cgroup that charges it
  Bytes guest_memory;
  bool operator==(const VmProcess&) const = default;
};

/// `known` (a map of VmId to what has a `process`) for these processes: what is known of one that
/// is the very same stays, another one begins anew, and whoever is not among them goes.
template <typename Known>
void KeepKnown(Known& known, std::vector<VmProcess> processes) {
  Known kept;
  for (VmProcess& process : processes) {
    auto node = known.extract(process.id);
    if (!node.empty() && node.mapped().process == process) {
      kept.insert(std::move(node));
    } else {
      const VmId id = process.id;
      kept[id].process = std::move(process);
    }
  }
  known = std::move(kept);
}

/// Where the guest's memory lies, from the text of a QEMU's /proc/PID/maps: its largest mappings
/// that are writable, not executable, and anonymous or a memfd, until `guest_memory` is covered; in
/// order of their addresses. kNotFound where they do not cover half of it: hugetlbfs or a file,
/// which are not paged out. kInvalid: no text of the kernel's.
Result<std::vector<AddressRange>> ParseGuestRam(std::string_view maps, Bytes guest_memory);

/// One entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
struct PageEntry {
  std::uint64_t bits = 0;
  bool present() const { return (bits >> 63 & 1) != 0; }
  bool swapped() const { return (bits >> 62 & 1) != 0; }
  /// 0 for whoever lacks CAP_SYS_ADMIN.
  std::uint64_t frame() const { return present() ? bits & ((std::uint64_t{1} << 55) - 1) : 0; }
};

/// Values of madvise(2).
enum class Advice : int { kWillNeed = 3, kCold = 20, kPageOut = 21 };

/// The memory of one guest, seen from the host.
class GuestMemory {
 public:
  GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  virtual ~GuestMemory() = default;
  virtual const std::vector<AddressRange>& Ranges() const = 0;
  /// An entry for each page of `range`.
  virtual Result<std::vector<PageEntry>> Pages(AddressRange range) = 0;
  /// kGone: its process has ended. A page that other processes map too is skipped in silence.
  virtual Status Advise(const std::vector<AddressRange>& ranges, Advice advice) = 0;
};

/// That of a process: its maps, pagemap (both want PTRACE_MODE_READ) and process_madvise(2), Linux
/// 5.10, which wants CAP_SYS_NICE too.
class QemuMemory final : public GuestMemory {
 public:
  /// kInvalid: its pid is in another cgroup, so it is not that VM's (any more).
  static Result<std::unique_ptr<GuestMemory>> Open(const Roots& roots, const VmProcess& vm);

  const std::vector<AddressRange>& Ranges() const override { return ranges_; }
  Result<std::vector<PageEntry>> Pages(AddressRange range) override;
  Status Advise(const std::vector<AddressRange>& ranges, Advice advice) override;

 private:
  QemuMemory(Fd pidfd, Fd pagemap, std::vector<AddressRange> ranges)
      : pidfd_(std::move(pidfd)), pagemap_(std::move(pagemap)), ranges_(std::move(ranges)) {}

  Fd pidfd_;
  Fd pagemap_;
  std::vector<AddressRange> ranges_;
};

}  // namespace ullage::host
