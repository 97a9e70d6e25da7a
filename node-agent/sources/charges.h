// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/file.h"
#include "node-agent/host/kept_file.h"
#include "node-agent/model/sample.h"

namespace ullage::sources {

/// The memory charged to each VM, read from the cgroup of its QEMU (QemuFacts.memory_cgroup, else
/// its pid's) through a folder that stays
/// open from tick to tick, so that the figures still come when libvirt hangs.
class Charges {
 public:
  explicit Charges(host::Roots roots) : roots_(std::move(roots)) {}

  /// So many calls, at most, may go by before a peak and what is swapped are read again.
  static constexpr int kSeldom = 10;

  /// One sample for each of `vms`, in their order. A VM whose cgroup is unknown, gone, unreadable
  /// or shared with another VM or with this agent gets a sample with `fault` and no figures.
  /// The charge is read each time. Of the kernel's own peak nothing is lost by looking seldom; what
  /// is swapped is looked for as well whenever so much of the charge has gone that it may be there.
  std::vector<ChargeSample> Read(const std::vector<QemuFacts>& vms);
  /// The absolute path of what charged `vm` at the last reading; empty: none was found. Whose it
  /// is, its inode says (ChargeSample.cgroup).
  std::string PathOf(const VmId& vm) const;

 private:
  struct Entry {
    std::string path;
    std::optional<host::MemoryCgroup> cgroup;
    // What was read with the last look at everything.
    ChargeSample looked;
    std::uint64_t epoch = 0;
    int rest = 0;             // calls until the next one
    std::uint64_t named = 0;  // the last call that named this VM
  };
  // This agent's own cgroup. Where it is, is read each time; what stands there, when it has moved,
  // and seldom.
  struct Own {
    std::optional<host::KeptFile> place;
    std::string text;  // of `place`
    std::optional<host::MemoryCgroup> cgroup;
    int rest = 0;
  };
  static ChargeSample ReadCgroup(const QemuFacts& vm, Entry& entry);
  static Status Reopen(const std::string& path, Entry& entry);
  ChargeSample ReadOne(const QemuFacts& vm, Entry& entry) const;
  void FindOwn();

  host::Roots roots_;
  std::map<VmId, Entry> entries_;
  std::uint64_t calls_ = 0;
  Own own_;
};

}  // namespace ullage::sources
