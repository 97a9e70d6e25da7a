// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node-agent/actuators/guest_parameters.h"
#include "node-agent/sources/changes.h"

namespace ullage::agent {

/// What this agent changed in guests' drivers and has not put back, in a file that survives the
/// agent and not the boot: the next one finds what this one could not undo. Only the tick's thread
/// calls it.
class ChangeBook final : public actuators::ChangeBook, public sources::ChangeSource {
 public:
  /// Reads `file`. One of another boot starts empty; one that makes no sense is moved aside to
  /// `file`.bad, and `trouble()` says so. Errors: it cannot be read at all.
  static Result<std::unique_ptr<ChangeBook>> Open(std::string file, std::string boot_id);

  Status Remember(const GuestChange& change) override;
  Status Forget(const std::vector<GuestChange>& changes) override;
  std::vector<GuestChange> Changes() const override;
  const std::string& trouble() const { return trouble_; }

 private:
  using Key = std::pair<VmId, std::string>;
  using Entries = std::map<Key, GuestChange>;
  ChangeBook(std::string file, std::string boot_id)
      : file_(std::move(file)), boot_id_(std::move(boot_id)) {}
  Status Load(std::string_view text);
  Status Commit(Entries next);

  const std::string file_;
  const std::string boot_id_;
  std::string trouble_;
  Entries entries_;
};

}  // namespace ullage::agent
