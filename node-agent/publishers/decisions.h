// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "node-agent/model/plan.h"
#include "node-agent/publishers/segment_log.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// A record is a v1::Snapshot with those VMs that changed; a VM with a UUID and no state is gone.
/// The first of a file holds all of them.
struct DecisionsOptions {
  SegmentOptions segments{.folder = "", .name = "decisions"};
  seconds keep{24 * 3600};
};

/// Whether two views of a VM differ by what is worth a record: a word or an epoch, or a size that
/// moved by 64 MiB and a sixteenth. A guest breathes.
bool Differs(const v1::Vm& recorded, const v1::Vm& now);
/// The same of all but the VMs.
bool Differs(const v1::Snapshot& recorded, const v1::Snapshot& now);

/// Writes down what was decided, where it changed. For one thread.
class DecisionLog {
 public:
  explicit DecisionLog(DecisionsOptions options)
      : options_(std::move(options)), writer_(options_.segments) {}

  Status Add(const Report& report);

 private:
  void DropOld(WallTime now) const;

  const DecisionsOptions options_;
  SegmentWriter writer_;
  v1::Snapshot last_;  // without VMs
  std::map<std::string, v1::Vm> vms_;
};

/// What was known at `at`: the last record that is not younger, with every VM of then. Whatever
/// stands in the files is read as if a stranger had written it. kNotFound: nothing that old.
Result<v1::Snapshot> DecisionsAt(const DecisionsOptions& options, WallTime at);

/// The same over the content of one file; absent (no observed_at): it holds nothing that old.
v1::Snapshot Replay(std::string_view content, std::int64_t at_unix_ms);

/// Why a VM counted as it did then. Errors as of Explain().
Result<v1::Explanation> ExplainPast(const v1::Snapshot& past, std::string_view vm);

}  // namespace ullage::publishers
