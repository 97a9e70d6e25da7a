// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/pager.h"

#include <algorithm>

#include "node-agent/host/cgroup_reclaim.h"
#include "node-agent/kube/threads.h"

namespace ullage::actuators {
namespace {

constexpr Bytes kStep = Bytes::MiB(32);                        // between two looks at the wishes
constexpr std::uint64_t kFetchStep = std::uint64_t{16} << 20;  // bytes
constexpr std::uint64_t kLookStep = std::uint64_t{512} << 20;  // one pagemap read of 1 MiB

Result<Bytes> Held(host::GuestMemory& memory, const std::vector<host::AddressRange>& ranges) {
  std::int64_t pages = 0;
  for (const host::AddressRange& range : ranges) {
    for (std::uint64_t at = range.begin; at < range.end; at += kLookStep) {
      const auto entries = memory.Pages({at, std::min(at + kLookStep, range.end)});
      if (!entries) return entries.error();
      pages += std::count_if(entries->begin(), entries->end(),
                             [](const host::PageEntry& entry) { return entry.present(); });
    }
  }
  return Bytes(pages * static_cast<std::int64_t>(host::kPage));
}

}  // namespace

Pager::Pager(Opener open, Cold cold) : open_(std::move(open)), cold_(std::move(cold)) {
  const kube::SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void Pager::Know(std::vector<host::VmProcess> vms) {
  const std::lock_guard lock(mutex_);
  host::KeepKnown(vms_, std::move(vms));
}

Status Pager::PageOut(const VmId& vm, Bytes amount) { return Wish(vm, amount, false); }

Status Pager::Fetch(const VmId& vm) { return Wish(vm, Bytes(), true); }

Status Pager::Wish(const VmId& vm, Bytes amount, bool fetch) {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm);
  if (found == vms_.end()) return Error(Code::kNotFound, "no process of this VM is known");
  found->second.wish = amount;
  found->second.fetch = fetch;
  wished_.notify_all();
  return Ok();
}

PagerCounts Pager::Counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::string Pager::Fault(const VmId& vm) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm);
  return found == vms_.end() ? "" : found->second.fault;
}

void Pager::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::optional<Job> job;
    {
      std::unique_lock lock(mutex_);
      wished_.wait(lock, stop, [&] { return (job = NextJob()).has_value(); });
    }
    if (!job) continue;
    auto outcome = job->fetch ? FetchAll(*job, stop) : StepOut(*job);
    if (!outcome) memory_.reset();
    Settle(*job, outcome ? *outcome : Outcome{.fault = outcome.error().message()});
  }
}

// Those that wait for their memory first, then each in turn.
std::optional<Pager::Job> Pager::NextJob() {
  const auto job = [](const Vm& vm) { return Job{vm.process, vm.wish, vm.fetch, vm.aged}; };
  for (const auto& [id, vm] : vms_) {
    if (vm.fetch) return job(vm);
  }
  const auto wishes = [](const auto& entry) { return entry.second.wish > Bytes(); };
  auto next = std::find_if(turn_ ? vms_.upper_bound(*turn_) : vms_.begin(), vms_.end(), wishes);
  if (next == vms_.end()) next = std::find_if(vms_.begin(), vms_.end(), wishes);
  if (next == vms_.end()) return std::nullopt;
  turn_ = next->first;
  return job(next->second);
}

void Pager::Settle(const Job& job, const Outcome& outcome) {
  const std::lock_guard lock(mutex_);
  counts_.taken += outcome.taken;
  counts_.stayed += outcome.stayed;
  counts_.fetched += outcome.fetched;
  if (!outcome.fault.empty()) ++counts_.failures;
  const auto found = vms_.find(job.process.id);
  if (found == vms_.end()) return;
  Vm& vm = found->second;
  vm.fault = outcome.fault;
  vm.aged = vm.aged || outcome.aged;
  if (job.fetch) {
    vm.fetch = false;
  } else if (vm.wish == job.wish) {  // else a newer one came meanwhile
    vm.wish = outcome.done ? Bytes() : job.wish - outcome.taken;
  }
}

Result<host::GuestMemory*> Pager::Memory(const host::VmProcess& process) {
  if (memory_ == nullptr || !(opened_ == process)) {
    auto memory = open_(process);
    if (!memory) return memory.error();
    memory_ = *std::move(memory);
    opened_ = process;
  }
  return memory_.get();
}

Result<Pager::Outcome> Pager::StepOut(const Job& job) {
  const Bytes step = std::min(job.wish, kStep);
  const auto cold = cold_(job.process.id, step);
  if (!cold) {
    auto chosen = LetKernelChoose(job, step);
    return chosen ? chosen : cold.error().In(chosen.error().message());
  }
  Outcome outcome;
  if (cold->empty()) return outcome;
  const auto memory = Memory(job.process);
  if (!memory) return memory.error();
  const auto before = Held(**memory, *cold);
  if (!before) return before.error();
  const Status advised = (*memory)->Advise(*cold, host::Advice::kPageOut);
  if (!advised) return advised.error();
  const auto after = Held(**memory, *cold);
  if (!after) return after.error();
  outcome.stayed = std::min(*before, *after);
  outcome.taken = *before - outcome.stayed;
  outcome.done = outcome.taken >= job.wish;
  if (outcome.stayed > outcome.taken) {
    outcome.fault = "cold pages stay: no swap is left, or they are shared or pinned";
    outcome.done = true;
  }
  return outcome;
}

Result<Pager::Outcome> Pager::LetKernelChoose(const Job& job, Bytes step) {
  if (!job.aged) {
    const auto memory = Memory(job.process);
    if (!memory) return memory.error();
    const Status forgotten = (*memory)->Advise((*memory)->Ranges(), host::Advice::kCold);
    if (!forgotten) return forgotten.error();
    return Outcome{.aged = true};
  }
  const auto taken = host::ReclaimFrom(job.process.cgroup, step);
  if (!taken) return taken.error();
  return Outcome{.taken = *taken, .done = *taken >= job.wish || *taken == Bytes()};
}

Result<Pager::Outcome> Pager::FetchAll(const Job& job, const std::stop_token& stop) {
  const auto memory = Memory(job.process);
  if (!memory) return memory.error();
  Outcome outcome;
  for (const host::AddressRange& range : (*memory)->Ranges()) {
    for (std::uint64_t at = range.begin; at < range.end && !stop.stop_requested();
         at += kFetchStep) {
      const host::AddressRange part{at, std::min(at + kFetchStep, range.end)};
      const auto entries = (*memory)->Pages(part);
      if (!entries) return entries.error();
      const auto out = std::count_if(entries->begin(), entries->end(),
                                     [](const host::PageEntry& entry) { return entry.swapped(); });
      if (out > 0) outcome.fetched += Bytes(out * static_cast<std::int64_t>(host::kPage));
      const Status advised = (*memory)->Advise({part}, host::Advice::kWillNeed);
      if (!advised) return advised.error();
    }
  }
  return outcome;
}

}  // namespace ullage::actuators
