// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/file.h"
#include "node-agent/model/sample.h"

namespace ullage::sources {

/// What the kubelet goes by when memory is short: it sees less than MemAvailable has, because it
/// counts page cache in use as taken, and it evicts VMs before the machine has to.
/// Source: Kubernetes, "Node-pressure Eviction" (memory.available) and "Reserve Compute Resources".
class KubeletBounds {
 public:
  /// `eviction_threshold`: evictionHard's memory.available; 0: this kubelet does not evict for it.
  KubeletBounds(host::Roots roots, Bytes eviction_threshold)
      : roots_(std::move(roots)), threshold_(eviction_threshold) {}

  /// Sets until_eviction and pods_left of a sample that has the machine's own figures. What cannot
  /// be read is absent, and the sample's fault says why; outside a pod no kubepods is known. What
  /// is charged is of now, the unused cache in it of one of the last ten readings.
  void Read(HostSample& sample);

 private:
  // A memory cgroup whose cache is looked at seldom: the kernel sums it up over all cgroups below.
  struct Watched {
    host::MemoryCgroup cgroup;
    Bytes inactive{};
    int reads_left = 0;
  };
  static Result<Bytes> WorkingSet(Watched& watched);
  Result<Bytes> UntilEviction(const std::string& root, bool v1, const HostSample& machine);
  Result<std::optional<Bytes>> PodsLeft(const std::string& root, const std::string& own);

  host::Roots roots_;
  Bytes threshold_;
  std::optional<host::CgroupLine> own_;  // of this process: a pod stays where it is
  std::optional<Watched> machine_;       // v1: its root
  std::optional<Watched> pods_;
};

}  // namespace ullage::sources
