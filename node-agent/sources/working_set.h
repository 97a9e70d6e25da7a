// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/host/guest_ram.h"
#include "node-agent/model/hybrid.h"
#include "node-agent/sources/block_sampler.h"
#include "node-agent/sources/page_marks.h"

namespace ullage::sources {

/// Which of some VMs' memory is cold. It looks on a thread of its own; nothing here blocks the
/// tick.
class Probe {
 public:
  Probe() = default;
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  virtual ~Probe() = default;
  /// WorkingSet.probe of each VM that it looks at.
  virtual const char* Name() const = 0;
  /// The VMs to look at from now on, all of them; of the others everything is forgotten.
  virtual void Watch(std::vector<host::VmProcess> vms) = 0;
  /// Nothing is known of a VM that is not watched.
  virtual WorkingSet Latest(const VmId& vm) const = 0;
  /// Where at most `amount` (and a block more) that is cold lies; each is named once, until it was
  /// looked at again. Empty: nothing is known to be cold. kNotFound: not watched.
  virtual Result<std::vector<host::AddressRange>> TakeCold(const VmId& vm, Bytes amount) = 0;
};

/// Samples all watched VMs in turn (BlockSampler), for at most 0.5 % of a processor's time.
class SampledProbe final : public Probe {
 public:
  using Opener = std::function<Result<std::unique_ptr<host::GuestMemory>>(const host::VmProcess&)>;
  SampledProbe(std::unique_ptr<PageMarks> marks, Opener open, const host::Clock& clock,
               seconds cold_after);

  const char* Name() const override { return marks_->Name(); }
  void Watch(std::vector<host::VmProcess> vms) override;
  WorkingSet Latest(const VmId& vm) const override;
  Result<std::vector<host::AddressRange>> TakeCold(const VmId& vm, Bytes amount) override;

 private:
  struct Vm {
    host::VmProcess process;
    std::unique_ptr<BlockSampler> sampler;  // absent: not opened yet, or it failed
    std::string fault;
    BootTime retry_at{};
  };
  void Run(const std::stop_token& stop);
  void Adopt();
  void Work(std::chrono::nanoseconds allowance);
  bool StepOne(Vm& vm, BootTime now);
  void Tell();

  std::unique_ptr<PageMarks> marks_;
  Opener open_;
  const host::Clock& clock_;
  seconds cold_after_;
  mutable std::mutex front_;  // what the tick says and asks: never held while a guest is looked at
  std::condition_variable_any changed_;
  std::vector<host::VmProcess> wanted_;
  std::map<VmId, WorkingSet> latest_;
  std::mutex work_;  // held for one block's look at a time
  std::map<VmId, Vm> vms_;
  std::size_t turn_ = 0;
  std::jthread thread_;  // last: it uses all the others
};

/// The best probe that this kernel and this process's rights allow: DAMON, else idle page tracking.
/// Null: neither; then only the kernel itself can choose what is cold (host::ReclaimFrom), and
/// refaults say whether it chose well. `why`: what stood against those that were not taken.
std::unique_ptr<Probe> ChooseProbe(const host::Roots& roots, const host::Clock& clock,
                                   seconds cold_after, std::string& why);

}  // namespace ullage::sources
