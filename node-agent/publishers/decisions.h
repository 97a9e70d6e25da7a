// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
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

/// Writes down what was decided, where it changed. For one thread.
class DecisionLog {
 public:
  explicit DecisionLog(DecisionsOptions options)
      : options_(std::move(options)), writer_(options_.segments) {}

  Status Add(const Report& report);

 private:
  /// What of a VM is worth a record when it changes, or moves (moved.h). Sizes as they are shown.
  struct Vm {
    std::string_view state{};
    Hinting hinting{};
    Run run{};
    Placement placement{};
    Reclaim reclaim{};
    GuestAgent agent{};
    std::uint64_t epoch = 0;
    Bytes guest_memory;
    Bytes reclaimed;
    Bytes promised;
    std::optional<Bytes> resident;
    std::optional<Bytes> swapped;
    std::optional<Bytes> returned;
    std::optional<Bytes> growth;
  };
  struct Recorded {
    std::string name;
    Vm vm;
  };
  /// The same of all but the VMs. Texts name ages and sizes; how many there are is what changes.
  struct Head {
    std::string mode;
    std::size_t conditions = 0;
    Capacity capacity;
  };
  using Vms = google::protobuf::RepeatedPtrField<v1::Vm>;

  static Vm VmOf(const Report& report, std::size_t index);
  static bool Differs(const Vm& recorded, const Vm& now);
  static bool Differs(const Head& recorded, const Head& now);
  /// The VMs that differ from what is recorded of them, or all; from now on that is recorded.
  Vms Changed(const Report& report, bool all);
  void DropOld(WallTime now) const;

  const DecisionsOptions options_;
  SegmentWriter writer_;
  Head head_;
  std::map<VmId, Recorded> vms_;
};

/// What was known at `at`: the last record that is not younger, with every VM of then. Whatever
/// stands in the files is read as if a stranger had written it. kNotFound: nothing that old.
Result<v1::Snapshot> DecisionsAt(const DecisionsOptions& options, WallTime at);

/// The same over the content of one file; absent (no observed_at): it holds nothing that old.
v1::Snapshot Replay(std::string_view content, std::int64_t at_unix_ms);

/// Why a VM counted as it did then. Errors as of Explain().
Result<v1::Explanation> ExplainPast(const v1::Snapshot& past, std::string_view vm);

}  // namespace ullage::publishers
