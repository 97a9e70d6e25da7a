// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/host/kept_file.h"
#include "node-agent/model/bytes.h"

namespace ullage::host {

/// A memory cgroup, held open by its folder and the file of its usage: once it is removed each read
/// says kGone, also when another of the same name has taken its place. Source:
/// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux 6.1.
class MemoryCgroup {
 public:
  enum class Version { kV1, kV2 };

  /// Opens `path` (absolute). kInvalid when it is a folder without memory accounting.
  static Result<MemoryCgroup> Open(const std::string& path);

  Version version() const { return version_; }
  std::uint64_t inode() const { return inode_; }
  const std::string& path() const { return path_; }

  /// v2 memory.current, v1 memory.usage_in_bytes.
  Result<Bytes> Usage() const;
  /// Absent when the kernel keeps none (v2 memory.peak came with 5.19).
  Result<std::optional<Bytes>> Peak() const;
  /// v2 memory.swap.current; v1 memsw − usage, absent when the kernel does not account swap.
  Result<std::optional<Bytes>> Swap() const;
  /// The same to whoever has read the usage at this moment.
  Result<std::optional<Bytes>> Swap(Bytes usage) const;
  /// Absent: no limit ("max", or v1's page counter maximum).
  Result<std::optional<Bytes>> Limit() const;
  /// What a leased limit is written to: v2 memory.high, v1 memory.limit_in_bytes. Absent: no limit.
  Result<std::optional<Bytes>> SoftLimit() const;
  /// v2 memory.swap.max. Absent: no limit, or v1, which has none of its own.
  Result<std::optional<Bytes>> SwapLimit() const;
  /// What memory.stat counts since the cgroup was made; on v1 for the hierarchy.
  struct Faults {
    std::optional<std::uint64_t> major;     ///< pgmajfault
    std::optional<std::uint64_t> refaults;  ///< workingset_refault_anon, pages (Linux 5.9)
  };
  Result<Faults> ReadFaults() const;
  /// The text of v2 memory.pressure. kGone on v1 and where the kernel has no PSI.
  Result<std::string> Pressure() const;
  /// What of the usage the kernel gives up when memory is short, and MemAvailable therefore counts:
  /// page cache (without shared memory) and, on v2, slab that can be reclaimed.
  Result<Bytes> Cache() const;
  /// Page cache that no process uses right now: inactive_file (v1 total_inactive_file).
  Result<Bytes> InactiveFile() const;

 private:
  MemoryCgroup(Fd folder, KeptFile usage, std::string path, Version version, std::uint64_t inode)
      : folder_(std::move(folder)),
        usage_(std::move(usage)),
        path_(std::move(path)),
        version_(version),
        inode_(inode) {}
  Result<std::optional<Bytes>> ReadOptional(const char* name) const;

  Fd folder_;
  KeptFile usage_;  // read each tick
  std::string path_;
  Version version_;
  std::uint64_t inode_;
};

/// One line of /proc/PID/cgroup. `v1` tells which hierarchy `path` belongs to.
struct CgroupLine {
  std::string path;
  bool v1 = false;
};

/// The line of the hierarchy that counts memory, from the text of /proc/PID/cgroup: the v1 "memory"
/// line, else the v2 "0::" line. Its path is the kernel's, which may begin with "/..".
Result<CgroupLine> ParseProcCgroup(std::string_view text);

/// Where `path`, as /proc/PID/cgroup has it, leads from `base` (Roots::cgroup_namespace): a plain
/// path from the hierarchy's root. A process outside the reader's cgroup namespace has as many
/// "/.." before its name as lead up to a common ancestor (cgroup_namespaces(7)). kInvalid: more of
/// them than there are folders in `base`, or what the kernel does not write.
Result<std::string> ResolveCgroup(std::string_view base, std::string_view path);

/// Both in one: the plain path in the hierarchy that counts memory, from /proc/PID/cgroup's text.
Result<CgroupLine> LocateCgroup(const Roots& roots, std::string_view text);

/// /proc/PID/cgroup.
std::string ProcCgroup(const Roots& roots, std::int32_t pid);
/// LocateCgroup of its text. kGone: the process ended.
Result<CgroupLine> CgroupOf(const Roots& roots, std::int32_t pid);

/// The absolute path of the folder that is the root of the hierarchy that counts memory: v1 has a
/// folder a controller, and beside it v2 hangs in "unified"; alone, v2 is the root.
std::string MemoryRoot(const Roots& roots, bool v1);

/// The absolute path of the memory cgroup that charges a process in `cgroup` (LocateCgroup's): from
/// there up to the nearest folder that has memory accounting (libvirt and systemd put processes
/// into threaded children that have none), but never the root. kGone when the cgroup ended, kDenied
/// when it may not be looked into.
Result<std::string> MemoryCgroupAt(const Roots& roots, const CgroupLine& cgroup);

/// The same for process `pid`, by its /proc/PID/cgroup; kGone also when the process ended.
Result<std::string> MemoryCgroupOf(const Roots& roots, std::int32_t pid);

/// The processes in the cgroup whose folder is `path` (not in those below), as this process's pid
/// namespace numbers them; those that it does not see are left out.
Result<std::vector<std::int32_t>> CgroupMembers(const std::string& path);
/// Pure half of it, from the text of cgroup.procs. kInvalid: garbage.
Result<std::vector<std::int32_t>> ParseMembers(std::string_view text);

/// One value file: digits, or "max" (absent). Garbage is kInvalid.
Result<std::optional<Bytes>> ParseLimit(std::string_view text);
/// The value of `key` in a flat keyed file such as memory.stat or /proc/meminfo; kB is honoured.
/// kNotFound when there is no such line, kInvalid when its value is no number.
Result<Bytes> ParseKeyed(std::string_view text, std::string_view key);

}  // namespace ullage::host
