// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/file.h"
#include "node-agent/model/node.h"
#include "node-agent/model/time.h"

namespace ullage::sources {

/// What the node's pods that are no VMs hold, each read from its own memory cgroup, through a
/// folder that stays open from tick to tick. A tick with 250 pods must not read 250 memory.stat,
/// which makes the kernel add up what its CPUs count apart: each tick reads every pod's charge, and
/// of some pods, in turn, what of it is cache. Between two turns what a pod holds falls with its
/// charge and does not rise.
class PodCharges {
 public:
  struct Rules {
    milliseconds look_every{30000};   ///< for the cgroups of pods that have none yet
    milliseconds cache_every{10000};  ///< a pod's turn
    std::size_t caches_a_tick = 32;
  };
  explicit PodCharges(host::Roots roots) : PodCharges(std::move(roots), Rules()) {}
  PodCharges(host::Roots roots, Rules rules) : roots_(std::move(roots)), rules_(rules) {}

  /// NodeSample::pod_working_sets of these. A pod is not in it where there is no such cgroup (a
  /// static pod has another UID at the API server than in its cgroup's name), where two have the
  /// pod's name, and where it cannot be read.
  std::map<std::string, Bytes> Read(BootTime now, const SharedList<PodSample>& pods);

 private:
  struct Entry {
    std::optional<host::MemoryCgroup> cgroup;
    std::optional<BootTime> cache_read;  ///< absent: neither of the two is known
    Bytes cache;
    Bytes held;
  };
  void Keep(const SharedList<PodSample>& pods);
  void Look();
  void ReadCaches(BootTime now);
  static std::optional<Bytes> Held(Entry& entry);

  host::Roots roots_;
  Rules rules_;
  std::map<std::string, Entry> entries_;  // by the pod's UID
  std::optional<BootTime> looked_;
};

}  // namespace ullage::sources
