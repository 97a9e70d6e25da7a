// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "node-agent/model/grants.h"
#include "node-agent/model/sample.h"
#include "node-agent/sources/changes.h"
#include "node-agent/sources/charges.h"
#include "node-agent/sources/host_memory.h"
#include "node-agent/sources/node_reader.h"
#include "node-agent/sources/pod_charges.h"
#include "node-agent/sources/qemu_directory.h"
#include "node-agent/sources/working_set.h"

namespace ullage::sources {

/// What admission has promised; implemented by agent/ over the ledger.
class GrantBook {
 public:
  GrantBook() = default;
  GrantBook(const GrantBook&) = delete;
  GrantBook& operator=(const GrantBook&) = delete;
  virtual ~GrantBook() = default;
  virtual std::vector<Grant> Grants() const = 0;
  /// Whether the book names every VM that runs.
  virtual bool Complete() const = 0;
};

/// The first stage of the tick: the outside world, once.
class Sources {
 public:
  /// Without Kubernetes: `book` knows what was promised.
  Sources(HostMemory host, Charges charges, const QemuDirectory& directory, const GrantBook& book,
          const ChangeSource& changes)
      : host_(std::move(host)),
        charges_(std::move(charges)),
        directory_(directory),
        book_(&book),
        changes_(changes) {}
  /// On a Kubernetes node: what was promised is what its pods asked for.
  Sources(HostMemory host, Charges charges, PodCharges pods, const QemuDirectory& directory,
          NodeReader& node, const ChangeSource& changes)
      : host_(std::move(host)),
        charges_(std::move(charges)),
        pods_(std::move(pods)),
        directory_(directory),
        node_(&node),
        changes_(changes) {}

  Samples Read(Moment now) {
    Samples samples;
    samples.at = now;
    // Grants before the list: a VM that ends between the two is counted once more, never lost.
    ReadGrants(samples);
    samples.guest_changes = changes_.Changes();
    QemuListing listing = directory_.Latest();
    samples.vms_listed_at = listing.listed_at;
    samples.vms_fault = std::move(listing.fault);
    std::vector<ChargeSample> charges = charges_.Read(listing.vms);
    FindHybrids(listing.vms, charges);
    for (std::size_t i = 0; i < listing.vms.size(); ++i) {
      samples.vms.push_back({std::move(listing.vms[i]), std::move(charges[i])});
      if (probe_ != nullptr) {
        samples.vms.back().working_set = probe_->Latest(samples.vms.back().qemu.spec.id);
      }
    }
    if (pods_) samples.node->pod_working_sets = pods_->Read(now.boot, samples.node->pods);
    // The host last: a charge that grows meanwhile must not be seen as still available.
    samples.host = host_.Read();
    return samples;
  }

  /// From now on it looks at the working sets of hybrid VMs. It outlives this.
  void Use(Probe& probe) { probe_ = &probe; }
  /// The hybrid VMs of the last reading, as far as their process and cgroup are known.
  const std::vector<host::VmProcess>& Hybrids() const { return hybrids_; }
  /// Charges::PathOf.
  std::string CgroupOf(const VmId& vm) const { return charges_.PathOf(vm); }
  /// What the host has left, between two ticks.
  std::optional<Bytes> LookAtHost() { return host_.Available(); }

 private:
  void ReadGrants(Samples& samples) {
    if (node_ != nullptr) {
      samples.node = node_->Read();
      if (!samples.node->pods.Shares(granted_.pods) || !samples.node->vmis.Shares(granted_.vmis)) {
        granted_ = {samples.node->pods, samples.node->vmis, SharedList(GrantsOf(*samples.node))};
      }
      samples.grants = granted_.grants;
      samples.grants_complete = samples.node->heard_at.has_value();
    } else {
      samples.grants = SharedList(book_->Grants());
      samples.grants_complete = book_->Complete();
    }
  }

  // Only whom the kernel charges alone: what shares a cgroup with others cannot be told from them.
  void FindHybrids(const std::vector<QemuFacts>& vms, const std::vector<ChargeSample>& charges) {
    hybrids_.clear();
    for (std::size_t i = 0; i < vms.size(); ++i) {
      const QemuFacts& vm = vms[i];
      if (vm.spec.reclaim != Reclaim::kHybrid || !vm.pid || charges[i].cgroup == 0) continue;
      if (vm.spec.guest_memory == Bytes::Max()) continue;
      hybrids_.push_back({vm.spec.id, *vm.pid, charges_.PathOf(vm.spec.id), vm.spec.guest_memory});
    }
    if (probe_ != nullptr) probe_->Watch(hybrids_);
  }

  // What the pods and VMIs of the last tick were granted: it is the same until these change.
  struct Granted {
    SharedList<PodSample> pods;
    SharedList<VmiSample> vmis;
    SharedList<Grant> grants;
  };

  HostMemory host_;
  Charges charges_;
  std::optional<PodCharges> pods_;  // with node_
  Probe* probe_ = nullptr;
  std::vector<host::VmProcess> hybrids_;
  const QemuDirectory& directory_;
  const GrantBook* book_ = nullptr;  // one of the two
  NodeReader* node_ = nullptr;
  Granted granted_;
  const ChangeSource& changes_;
};

}  // namespace ullage::sources
