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
    for (std::size_t i = 0; i < listing.vms.size(); ++i) {
      samples.vms.push_back({std::move(listing.vms[i]), std::move(charges[i])});
    }
    if (pods_) pods_->Fill(now.boot, samples.node->pods);
    // The host last: a charge that grows meanwhile must not be seen as still available.
    samples.host = host_.Read();
    return samples;
  }

  /// Charges::PathOf.
  std::string CgroupOf(const VmId& vm) const { return charges_.PathOf(vm); }
  /// The host's memory alone, between two ticks.
  HostSample LookAtHost() { return host_.Read(); }

 private:
  void ReadGrants(Samples& samples) {
    if (node_ != nullptr) {
      samples.node = node_->Read();
      samples.grants = GrantsOf(*samples.node);
      samples.grants_complete = samples.node->heard_at.has_value();
    } else {
      samples.grants = book_->Grants();
      samples.grants_complete = book_->Complete();
    }
  }

  HostMemory host_;
  Charges charges_;
  std::optional<PodCharges> pods_;  // with node_
  const QemuDirectory& directory_;
  const GrantBook* book_ = nullptr;  // one of the two
  NodeReader* node_ = nullptr;
  const ChangeSource& changes_;
};

}  // namespace ullage::sources
