// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node-agent/host/file.h"
#include "node-agent/model/result.h"
#include "node-agent/model/sample.h"

namespace ullage::admission {

/// What was promised to whom: one entry for each VM that was admitted, in a file that survives the
/// agent and not the boot. Each change is on disk before the call returns. Safe to call from any
/// thread.
class Ledger {
 public:
  /// Reads `file`. One of another boot is stale and starts empty; one that makes no sense is moved
  /// aside to `file`.bad, starts empty, and `trouble()` says so. kExists when another agent holds
  /// it (flock on `file`.lock); kDenied and the like when the folder cannot be written.
  static Result<std::unique_ptr<Ledger>> Open(std::string file, std::string boot_id);

  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  std::optional<Grant> Find(const VmId& vm) const;
  std::vector<Grant> Grants() const;  ///< sorted by VM

  /// Whether the ledger knows of every VM that runs: it once did, and whoever started since asked.
  bool complete() const;
  const std::string& trouble() const { return trouble_; }

  /// Each fails without effect when it cannot be written down.
  Status Put(const Grant& grant);
  Status PutAll(const std::vector<Grant>& grants, bool complete);
  /// True when there was such an entry.
  Result<bool> Remove(const VmId& vm);

 private:
  using Entries = std::map<VmId, Grant>;
  Ledger(std::string file, std::string boot_id)
      : file_(std::move(file)), boot_id_(std::move(boot_id)) {}
  Status Load(std::string_view text);
  Status Commit(Entries next, bool complete);  // with mutex_ held

  const std::string file_;
  const std::string boot_id_;
  host::Fd lock_;  // held as long as this lives
  std::string trouble_;
  mutable std::mutex mutex_;
  Entries entries_;
  bool complete_ = false;
};

}  // namespace ullage::admission
