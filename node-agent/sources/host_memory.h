// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/file.h"
#include "node-agent/host/kept_file.h"
#include "node-agent/model/sample.h"
#include "node-agent/sources/kubelet_bounds.h"

namespace ullage::sources {

/// What the machine has left: /proc/meminfo and /proc/pressure/memory, and where a memory cgroup
/// bounds the VMs ("the host" of a demo, or kubepods), the smaller of the two.
/// Source: Documentation/filesystems/proc.rst (MemAvailable), Documentation/accounting/psi.rst.
class HostMemory {
 public:
  /// `cgroup`: absolute path of the bounding memory cgroup, empty for none. `kubelet`: on a node.
  HostMemory(host::Roots roots, std::string cgroup,
             std::optional<KubeletBounds> kubelet = std::nullopt)
      : roots_(std::move(roots)), cgroup_path_(std::move(cgroup)), kubelet_(std::move(kubelet)) {}

  /// Never fails: what could not be read is absent, and `fault` says why.
  HostSample Read();
  /// HostSample::available alone, at a small part of the cost: for a look between two ticks.
  std::optional<Bytes> Available();

 private:
  Status ReadMachine(HostSample& sample);
  Status ReadCgroup(HostSample& sample);

  host::Roots roots_;
  std::string cgroup_path_;
  std::optional<host::KeptFile> meminfo_;
  std::optional<host::MemoryCgroup> cgroup_;
  std::optional<KubeletBounds> kubelet_;
};

/// "some avg10=0.12 …" → 12 (1/10,000). kNotFound when there is no "some" line.
Result<Permyriad> ParsePressure(std::string_view text);

}  // namespace ullage::sources
