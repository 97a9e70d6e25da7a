// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "node-agent/host/file.h"
#include "node-agent/model/bytes.h"
#include "node-agent/model/time.h"

namespace ullage::host {

/// The files of a memory cgroup that may be leased; nothing else is ever written there.
/// Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst of Linux 6.1.
inline constexpr std::string_view kHigh = "memory.high";  ///< v2
inline constexpr std::string_view kV1Limit = "memory.limit_in_bytes";
inline constexpr std::string_view kSwapMax = "memory.swap.max";  ///< v2
bool MayBeLeased(std::string_view file);

/// A value that this agent has written into a cgroup's file, and what undoes it. Absent: no limit.
struct LeasedValue {
  std::string cgroup;       ///< absolute path, and …
  std::uint64_t inode = 0;  ///< … whose it was: a path alone may be another's by now
  std::optional<Bytes> was;
  std::optional<Bytes> last;  ///< what was written before …
  std::optional<Bytes> next;  ///< … and what is being written: either may stand there after a crash
  bool operator==(const LeasedValue&) const = default;
};

/// Everything of VMs that the agent holds and has to give back.
struct Leases {
  using Key = std::pair<std::string, std::string>;  ///< VM, file
  std::map<Key, LeasedValue> values;
  std::map<std::string, Bytes> balloons;  ///< VM → what its balloon left before this agent
  bool operator==(const Leases&) const = default;
};

/// "none" or digits a field, one lease a line; kInvalid: no such text, or what no agent wrote.
Result<Leases> ParseLeases(std::string_view text, std::string_view boot_id);
/// kInvalid: something that cannot stand in a line.
Result<std::string> FormatLeases(const Leases& leases, std::string_view boot_id);

/// The leases in a file that survives the agent and not the boot, in a folder that the agent and
/// ullage-lease share. Either may write: each change takes a lock, that is never waited for, and
/// begins with what stands in the file.
class LeaseBook {
 public:
  /// One of another boot starts empty; one that makes no sense is moved aside to `leases`.bad, and
  /// `trouble()` says so. Errors: it cannot be read at all.
  static Result<LeaseBook> Open(const std::string& folder, std::string boot_id);

  /// What stood there at the last look.
  const Leases& leases() const { return leases_; }
  const std::string& trouble() const { return trouble_; }
  /// Looks whether the other one changed it; a call of stat when not.
  Status Look();
  /// Whether the lease stands, when no change by the other one is under way. False, too, when it is
  /// at it for long.
  bool Holds(const Leases::Key& key);
  /// Durable when it returns. kExists: the other one is at it, try again later.
  template <typename F>
  Status Change(F&& edit) {
    const auto lock = LockFile(file_ + ".lock");
    if (!lock) return lock.error();
    if (Status looked = Look(); !looked) return looked;
    Leases next = leases_;
    edit(next);
    return Commit(std::move(next));
  }

 private:
  LeaseBook(std::string file, std::string boot_id)
      : file_(std::move(file)), boot_id_(std::move(boot_id)) {}
  Status Commit(Leases next);

  /// Each change makes a new file: which one was read.
  struct Version {
    std::uint64_t inode = 0;
    std::int64_t seconds = 0, nanoseconds = 0, size = 0;
    bool operator==(const Version&) const = default;
  };
  Version Stat() const;

  std::string file_;
  std::string boot_id_;
  std::string trouble_;
  Version version_;
  Leases leases_;
};

/// A leasable file of one cgroup, held by its folder.
class LeasableFile {
 public:
  /// kInvalid: outside `roots.cgroup`, or no leasable file; kGone: the cgroup is not there, or
  /// another one has its name (`inode`; 0: any).
  static Result<LeasableFile> Open(const Roots& roots, const std::string& cgroup,
                                   std::uint64_t inode, std::string_view file);
  std::uint64_t inode() const { return inode_; }
  /// Absent: no limit.
  Result<std::optional<Bytes>> Read() const;
  /// Raising, and what lies above the charge, returns at once; a limit below the charge makes the
  /// kernel reclaim before it returns, and while what it limits grows it may never get there.
  /// `longest`, where it is not 0: after that v1 sets no limit (kUnavailable), v2 does and goes on
  /// without.
  Status Write(std::optional<Bytes> value, milliseconds longest = {}) const;

 private:
  LeasableFile(Fd folder, std::string file, std::uint64_t inode)
      : folder_(std::move(folder)), file_(std::move(file)), inode_(inode) {}
  Fd folder_;
  std::string file_;
  std::uint64_t inode_;
};

enum class Undone {
  kRestored,
  kGone,     ///< there is nothing left to restore
  kYielded,  ///< somebody else has changed it since: left to that one
};
/// Puts back what was before the lease.
Result<Undone> Undo(const Roots& roots, std::string_view file, const LeasedValue& lease);

/// The sign of life that ullage-lease watches: a file whose lock the agent holds for as long as it
/// lives, and in which it writes the time at each tick.
class Heartbeat {
 public:
  /// kExists: another agent lives.
  static Result<Heartbeat> Begin(const std::string& folder);
  Status Beat(BootTime now) const;

 private:
  explicit Heartbeat(Fd file) : file_(std::move(file)) {}
  Fd file_;
};

/// Held by the one ullage-lease of a folder. kExists: another one is there.
Result<Fd> KeeperLock(const std::string& folder);
/// Whether there is one. No limit is set without.
bool KeeperLives(const std::string& folder);

struct Pulse {
  bool held = false;             ///< an agent lives, if it breathes or not
  std::optional<BootTime> beat;  ///< absent: it never breathed
};
Result<Pulse> FeelPulse(const std::string& folder);

}  // namespace ullage::host
