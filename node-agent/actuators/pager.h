// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "node-agent/host/guest_ram.h"

namespace ullage::actuators {

/// What the executor asks for. Both only enqueue: the tick never waits for swap.
class Paging {
 public:
  Paging() = default;
  Paging(const Paging&) = delete;
  Paging& operator=(const Paging&) = delete;
  virtual ~Paging() = default;
  /// At most about `amount` of what is cold in that VM goes to swap; replaces an earlier wish.
  /// kNotFound: nobody has said which process it is.
  virtual Status PageOut(const VmId& vm, Bytes amount) = 0;
  /// What was paged out comes back ahead of its use; ends paging out.
  virtual Status Fetch(const VmId& vm) = 0;
};

/// What became of the wishes, since the start.
struct PagerCounts {
  Bytes taken;    ///< paged out: held before, and no longer
  Bytes stayed;   ///< asked of the kernel, which kept it: no swap left, shared or pinned pages
  Bytes fetched;  ///< read ahead: not held before
  std::uint64_t failures = 0;
};

/// Pages out by process_madvise(2), in steps, what a probe calls cold, and nothing else; where no
/// probe names addresses the kernel chooses (host::ReclaimFrom). Then the first step takes nothing:
/// each page looks used until its mark of use was cleared once (MADV_COLD).
/// Works on a thread of its own.
class Pager final : public Paging {
 public:
  using Opener = std::function<Result<std::unique_ptr<host::GuestMemory>>(const host::VmProcess&)>;
  /// sources::Probe::TakeCold.
  using Cold = std::function<Result<std::vector<host::AddressRange>>(const VmId&, Bytes)>;
  Pager(Opener open, Cold cold);

  /// Which VMs there are; wishes for others are dropped.
  void Know(std::vector<host::VmProcess> vms);
  Status PageOut(const VmId& vm, Bytes amount) override;
  Status Fetch(const VmId& vm) override;

  PagerCounts Counts() const;
  /// Why the last wish for this VM failed; empty: it did not.
  std::string Fault(const VmId& vm) const;

 private:
  struct Vm {
    host::VmProcess process;
    Bytes wish;  // still to be paged out
    bool fetch = false;
    bool aged = false;  // what its pages were used for before is forgotten
    std::string fault;
  };
  struct Job {
    host::VmProcess process;
    Bytes wish;
    bool fetch = false;
    bool aged = false;
  };
  struct Outcome {
    Bytes taken{};
    Bytes stayed{};
    Bytes fetched{};
    bool done = true;  // nothing is left to do, even if less than the wish was taken
    bool aged = false;
    std::string fault{};
  };
  Status Wish(const VmId& vm, Bytes amount, bool fetch);
  void Run(const std::stop_token& stop);
  std::optional<Job> NextJob();
  void Settle(const Job& job, const Outcome& outcome);
  Result<host::GuestMemory*> Memory(const host::VmProcess& process);
  Result<Outcome> StepOut(const Job& job);
  Result<Outcome> LetKernelChoose(const Job& job, Bytes step);
  Result<Outcome> FetchAll(const Job& job, const std::stop_token& stop);

  Opener open_;
  Cold cold_;
  mutable std::mutex mutex_;  // never held while the kernel works
  std::condition_variable_any wished_;
  std::map<VmId, Vm> vms_;
  std::optional<VmId> turn_;
  PagerCounts counts_;
  // The worker's own.
  host::VmProcess opened_;
  std::unique_ptr<host::GuestMemory> memory_;
  std::jthread thread_;  // last: it uses all the others
};

}  // namespace ullage::actuators
