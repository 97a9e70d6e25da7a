// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/kubelet_bounds.h"

#include <unistd.h>

#include <algorithm>

#include "node-agent/host/pod_cgroup.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kTextLimit = 64 << 10;
constexpr int kReadsOfOneCache = 10;

void Add(std::string& fault, const Error& error) {
  fault += (fault.empty() ? "" : "; ") + error.In("the kubelet's view").message();
}

}  // namespace

// As the kubelet counts it: page cache in use is in it.
Result<Bytes> KubeletBounds::WorkingSet(Watched& watched) {
  const auto usage = watched.cgroup.Usage();
  if (!usage) return usage.error();
  if (watched.reads_left == 0) {
    const auto inactive = watched.cgroup.InactiveFile();
    if (!inactive) return inactive.error();
    watched.inactive = *inactive;
    watched.reads_left = kReadsOfOneCache;
  }
  --watched.reads_left;
  return std::max(*usage - watched.inactive, Bytes());
}

void KubeletBounds::Read(HostSample& sample) {
  if (!own_) {
    auto own = host::CgroupOf(roots_, getpid());
    if (!own) return Add(sample.fault, own.error());
    own_ = *std::move(own);
  }
  const std::string root = host::MemoryRoot(roots_, own_->v1);
  if (threshold_ > Bytes()) {
    const auto left = UntilEviction(root, own_->v1, sample);
    if (!left) {
      machine_.reset();
      Add(sample.fault, left.error());
    } else {
      sample.until_eviction = *left;
    }
  }
  const auto left = PodsLeft(root, own_->path);
  if (!left) {
    pods_.reset();
    own_.reset();
    Add(sample.fault, left.error());
  } else {
    sample.pods_left = *left;
  }
}

Result<Bytes> KubeletBounds::UntilEviction(const std::string& root, bool v1,
                                           const HostSample& machine) {
  if (v1) {
    if (!machine_) {
      auto opened = host::MemoryCgroup::Open(root);
      if (!opened) return opened.error();
      machine_ = Watched{*std::move(opened)};
    }
    const auto taken = WorkingSet(*machine_);
    if (!taken) return taken.error();
    return *machine.total - *taken - threshold_;
  }
  // The root of v2 has no memory.current: what is not free is in use.
  const std::string file = root + "/memory.stat";
  const auto stat = host::ReadFile(file, kTextLimit);
  if (!stat) return stat.error();
  const auto inactive = host::ParseKeyed(*stat, "inactive_file");
  if (!inactive) return inactive.error().In(file);
  return *machine.free + *inactive - threshold_;
}

Result<std::optional<Bytes>> KubeletBounds::PodsLeft(const std::string& root,
                                                     const std::string& own) {
  if (!pods_) {
    const auto pod = host::PodOfCgroup(own);
    if (!pod) return std::optional<Bytes>();
    auto opened = host::MemoryCgroup::Open(root + host::AllPodsOf(*pod));
    if (!opened) return opened.error();
    pods_ = Watched{*std::move(opened)};
  }
  const auto limit = pods_->cgroup.Limit();
  if (!limit) return limit.error();
  if (!*limit) return std::optional<Bytes>();
  const auto taken = WorkingSet(*pods_);
  if (!taken) return taken.error();
  return std::optional(**limit - *taken);
}

}  // namespace ullage::sources
