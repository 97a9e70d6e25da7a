// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/working_set.h"

#include <time.h>

#include <algorithm>

#include "node-agent/kube/threads.h"
#include "node-agent/sources/damon_marks.h"

namespace ullage::sources {
namespace {

using std::chrono::nanoseconds;

constexpr seconds kEvery{1};
constexpr int kShare = 200;  // 1/200 of a processor
constexpr nanoseconds kMostAtOnce = milliseconds(20);
constexpr seconds kRetry{60};

nanoseconds SpentByThisThread() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return seconds(spent.tv_sec) + nanoseconds(spent.tv_nsec);
}

}  // namespace

SampledProbe::SampledProbe(std::unique_ptr<PageMarks> marks, Opener open, const host::Clock& clock,
                           seconds cold_after)
    : marks_(std::move(marks)), open_(std::move(open)), clock_(clock), cold_after_(cold_after) {
  const kube::SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void SampledProbe::Watch(std::vector<host::VmProcess> vms) {
  const std::lock_guard lock(front_);
  wanted_ = std::move(vms);
}

WorkingSet SampledProbe::Latest(const VmId& vm) const {
  const std::lock_guard lock(front_);
  const auto found = latest_.find(vm);
  return found == latest_.end() ? WorkingSet() : found->second;
}

Result<std::vector<host::AddressRange>> SampledProbe::TakeCold(const VmId& vm, Bytes amount) {
  const std::lock_guard lock(work_);
  const auto found = vms_.find(vm);
  if (found == vms_.end()) return Error(Code::kNotFound, "no probe looks at this VM");
  if (!found->second.sampler) {
    const std::string& fault = found->second.fault;
    return Error(Code::kUnavailable, fault.empty() ? "not looked at yet" : fault);
  }
  return found->second.sampler->TakeCold(amount, clock_.Now().boot);
}

void SampledProbe::Run(const std::stop_token& stop) {
  BootTime before = clock_.Now().boot;
  nanoseconds allowance{};
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(front_);
      changed_.wait_for(lock, stop, kEvery, [] { return false; });
    }
    const BootTime now = clock_.Now().boot;
    // What one look costs more than it may is owed by the next.
    allowance = std::min(allowance + (now - before) / kShare, kMostAtOnce);
    before = now;
    const nanoseconds spent = SpentByThisThread();
    Adopt();
    if (allowance > nanoseconds(0)) Work(allowance);
    Tell();
    allowance -= SpentByThisThread() - spent;
  }
}

void SampledProbe::Adopt() {
  std::vector<host::VmProcess> wanted;
  {
    const std::lock_guard lock(front_);
    wanted = wanted_;
  }
  const std::lock_guard lock(work_);
  host::KeepKnown(vms_, std::move(wanted));
}

void SampledProbe::Work(nanoseconds allowance) {
  const nanoseconds end = SpentByThisThread() + allowance;
  const BootTime now = clock_.Now().boot;
  std::vector<VmId> due;
  {
    const std::lock_guard lock(work_);
    for (const auto& [id, vm] : vms_) due.push_back(id);
  }
  if (due.empty()) return;
  // Another one first each time: where the allowance ends, the same ones would never be reached.
  std::rotate(due.begin(), due.begin() + static_cast<std::ptrdiff_t>(turn_++ % due.size()),
              due.end());
  // One block of each in turn, so that no VM waits for another's whole round.
  while (!due.empty()) {
    for (auto id = due.begin(); id != due.end();) {
      if (SpentByThisThread() >= end) return;
      const std::lock_guard lock(work_);
      id = StepOne(vms_.at(*id), now) ? id + 1 : due.erase(id);
    }
  }
}

// False: nothing is due.
bool SampledProbe::StepOne(Vm& vm, BootTime now) {
  const auto failed = [&](const Error& error) {
    vm.sampler.reset();
    vm.fault = error.message();
    vm.retry_at = now + kRetry;
    return false;
  };
  if (!vm.sampler) {
    if (vm.retry_at > now) return false;
    auto memory = open_(vm.process);
    if (!memory) return failed(memory.error());
    const auto seed = static_cast<std::uint32_t>(now.time_since_epoch().count() + vm.process.pid);
    vm.sampler = std::make_unique<BlockSampler>(*std::move(memory), *marks_, cold_after_, seed);
    vm.fault.clear();
  }
  const auto stepped = vm.sampler->Step(now);
  return stepped ? *stepped : failed(stepped.error());
}

void SampledProbe::Tell() {
  std::map<VmId, WorkingSet> latest;
  {
    const std::lock_guard lock(work_);
    for (const auto& [id, vm] : vms_) {
      WorkingSet& set = latest[id];
      if (vm.sampler) {
        set = vm.sampler->Latest();
      } else {
        set.fault = vm.fault;
      }
    }
  }
  const std::lock_guard lock(front_);
  latest_ = std::move(latest);
}

std::unique_ptr<Probe> ChooseProbe(const host::Roots& roots, const host::Clock& clock,
                                   seconds cold_after, std::string& why) {
  auto marks = DamonMarks::Open(roots, clock, cold_after);
  if (!marks) {
    why = marks.error().message();
    marks = IdleMarks::Open(roots);
  }
  if (!marks) {
    why += "; " + marks.error().message();
    return nullptr;
  }
  return std::make_unique<SampledProbe>(
      *std::move(marks),
      [roots](const host::VmProcess& vm) { return host::QemuMemory::Open(roots, vm); }, clock,
      cold_after);
}

}  // namespace ullage::sources
