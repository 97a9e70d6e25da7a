// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/fold.h"

#include <algorithm>

#include "node-agent/model/discard.h"
#include "node-agent/model/find.h"

namespace ullage {
namespace {

// The VM of this id among `vms`, put in where it is not; whether it was put in. They come in their
// order, so it mostly goes to the end.
std::pair<VmState&, bool> FindOrAdd(std::vector<VmState>& vms, const VmId& id) {
  const auto at = vms.empty() || vms.back().spec.id < id ? vms.end() : PlaceOf(vms, id);
  if (at != vms.end() && at->spec.id == id) return {*at, false};
  return {*vms.emplace(at), true};
}

// The highest charge of this epoch. The cgroup's own mark catches spikes between two ticks, but no
// guest reboot resets it: within an epoch only its rises count.
std::optional<Bytes> Peak(const VmState& vm, const VmState* before) {
  if (!vm.resident) return std::nullopt;
  if (before == nullptr || before->cgroup != vm.cgroup) {
    return std::max(*vm.resident, vm.kernel_peak.value_or(Bytes()));
  }
  if (before->epoch != vm.epoch || !before->peak) return vm.resident;
  Bytes peak = std::max(*before->peak, *vm.resident);
  if (vm.kernel_peak && before->kernel_peak && *vm.kernel_peak > *before->kernel_peak) {
    peak = std::max(peak, *vm.kernel_peak);
  }
  return peak;
}

// The rate at which it waits for pages, between two ticks of one cgroup; 64-bit counters do not
// wrap, so one that falls is no rate.
std::optional<std::uint64_t> FaultsAMinute(const VmState& vm, const VmState* before,
                                           milliseconds apart) {
  if (before == nullptr || before->cgroup != vm.cgroup || apart <= milliseconds(0)) return {};
  const auto grown = [](const auto& now, const auto& then) -> std::optional<std::uint64_t> {
    if (!now || !then || *now < *then) return {};
    return *now - *then;
  };
  const auto major = grown(vm.major_faults, before->major_faults);
  const auto again = grown(vm.refaults, before->refaults);
  if (!major && !again) return {};
  // A refault that had to be read is a major fault, too: the larger of the two, not the sum.
  const std::uint64_t most = std::max(major.value_or(0), again.value_or(0));
  // A few pages in a tick that came early are no burst.
  const auto over = std::max<milliseconds>(apart, seconds(1)).count();
  return static_cast<std::uint64_t>(static_cast<Wide>(most) * 60000 / over);
}

void TakeCharge(VmState& vm, const ChargeSample& charge, const VmState* before) {
  vm.major_faults = charge.major_faults;
  vm.refaults = charge.refaults;
  vm.pressure_some_avg10 = charge.pressure_some_avg10;
  vm.swap_limit = charge.swap_limit;
  vm.resident = charge.resident;
  vm.swapped = charge.swapped;
  vm.cgroup = charge.cgroup;
  vm.kernel_peak = charge.peak;
  vm.peak = Peak(vm, before);
  // What the host swapped out was not given back: it is held still, elsewhere.
  if (vm.peak) {
    const Bytes held = *vm.resident + vm.swapped.value_or(Bytes());
    vm.returned = std::max(*vm.peak - held, Bytes());
  }
  if (!charge.fault.empty()) {
    vm.fault += vm.fault.empty() ? charge.fault : "; " + charge.fault;
  }
}

// When the guest's own swap was last seen in use, by its word.
std::optional<BootTime> GuestSwappedAt(const GuestStats& now, const VmState& before, BootTime at) {
  const auto rose = [](const std::optional<Bytes>& new_value, const std::optional<Bytes>& old) {
    return new_value && old && *new_value > *old;
  };
  const bool swaps =
      rose(now.swap_in, before.guest.swap_in) || rose(now.swap_out, before.guest.swap_out);
  return swaps ? at : before.guest_swapped_at;
}

milliseconds Apart(const Moment& then, const Moment& now) {
  return std::chrono::duration_cast<milliseconds>(now.boot - then.boot);
}

VmState FromQemu(VmSample&& sample, const Overhead& overhead) {
  VmState vm;
  vm.promised = Promised(sample.qemu.spec, overhead);
  vm.ordinary = vm.promised;  // promised before anybody asked, so it stands on ordinary memory
  vm.spec = std::move(sample.qemu.spec);
  vm.proof = sample.qemu.hinting;
  vm.autodeflate = sample.qemu.autodeflate;
  vm.hinting = Judge(vm.proof);
  vm.guest = sample.qemu.guest;
  vm.exempt = std::move(sample.qemu.exempt);
  vm.agent = sample.qemu.agent;
  vm.agent_fault = std::move(sample.qemu.agent_fault);
  vm.module = std::move(sample.qemu.module);
  vm.run = sample.qemu.run;
  vm.epoch = sample.qemu.epoch;
  vm.answered_at = sample.qemu.answered_at;
  vm.stalled = sample.qemu.stalled;
  vm.fault = std::move(sample.qemu.fault);
  return vm;
}

VmState FromGrant(const Grant& grant, const Overhead& overhead) {
  VmState vm;
  vm.spec = grant.spec;
  vm.promised = Promised(grant.spec, overhead);
  vm.ordinary = vm.promised;
  vm.bound_only = true;
  return vm;
}

// A grant may be larger than what the VM needs (whole quanta) or, after a change of the overhead,
// smaller: what stands on reclaimable capacity is the grant's, the rest is ordinary.
void TakeGrant(VmState& vm, const Grant& grant) {
  vm.reclaimed = grant.reclaimed;
  vm.ordinary = std::max(grant.ordinary, vm.promised - grant.reclaimed);
  vm.promised = vm.ordinary + vm.reclaimed;
}

// What the scheduler counts is what the pod asked for, whatever QEMU should need by our own sum.
void TakeRequests(VmState& vm, const Grant& grant) {
  vm.reclaimed = grant.reclaimed;
  vm.ordinary = grant.ordinary;
  vm.promised = vm.ordinary + vm.reclaimed;
}

// What its owner says today, and not what QEMU was started with; but the larger guest of the two.
void TakeVmi(VmState& vm, const VmiSample& vmi) {
  const Bytes most = std::max(vm.spec.guest_memory, vmi.spec.guest_memory);
  vm.spec = vmi.spec;
  vm.spec.guest_memory = most;
  if (!vmi.exempt.empty()) vm.exempt = vmi.exempt;
  vm.hints_off = vmi.hints_off;
  vm.leaving = vmi.leaving;
  vm.stays = vmi.stays;
  vm.keeps_pod = vmi.keeps_pod;
}

// A VM that the agent before this one knew goes on being watched, once its charge says that it is
// the same. One that fell a lot in between may be a reboot that nobody saw, and is taken for one.
void TakeWatch(std::optional<Inherited>& inherited, VmState& vm) {
  if (!inherited || !vm.resident || vm.cgroup == 0) return;
  auto& known = inherited->vms;
  const auto at = std::find_if(known.begin(), known.end(),
                               [&](const Inherited::Vm& one) { return one.id == vm.spec.id; });
  if (at == known.end()) return;
  const Bytes least = at->resident * Permyriad{8750};
  if (at->cgroup == vm.cgroup && *vm.resident >= least) {
    vm.watched_since = std::min(vm.watched_since.value_or(at->watched_since), at->watched_since);
  }
  known.erase(at);  // whatever it does from now on is seen
}

}  // namespace

Bytes Promised(const VmSpec& spec, const Overhead& overhead) {
  const auto share = static_cast<std::int64_t>(spec.vcpus) * 10000;
  return spec.guest_memory + overhead.fixed + overhead.per_vcpu * Permyriad{share};
}

Snapshot Fold(const Snapshot& previous, Samples samples, const Overhead& overhead) {
  std::vector<VmState> vms;
  vms.reserve(samples.vms.size() + samples.grants.size());
  Carried carried = previous.carried;
  for (VmSample& sample : samples.vms) {
    const VmId id = sample.qemu.spec.id;
    const ChargeSample charge = std::move(sample.charge);
    WorkingSet working_set = std::move(sample.working_set);
    VmState& vm = FindOrAdd(vms, id).first;
    vm = FromQemu(std::move(sample), overhead);
    const VmState* old = FindById(previous.vms, id);
    const bool known = old != nullptr && old->epoch == vm.epoch && old->watched_since;
    vm.watched_since = known ? old->watched_since : samples.at.boot;
    TakeCharge(vm, charge, old);
    TakeWatch(carried.inherited, vm);
    vm.faults_a_minute = FaultsAMinute(vm, old, Apart(previous.at, samples.at));
    vm.working_set = std::move(working_set);
    if (known) {
      vm.hybrid = old->hybrid;
      vm.guest_swapped_at = GuestSwappedAt(vm.guest, *old, samples.at.boot);
    }
    if (const auto limit = samples.leased.find(id); limit != samples.leased.end()) {
      vm.leased = limit->second;
    }
  }
  for (const Grant& grant : samples.grants) {
    auto [vm, bound] = FindOrAdd(vms, grant.spec.id);
    if (bound) vm = FromGrant(grant, overhead);
    samples.node ? TakeRequests(vm, grant) : TakeGrant(vm, grant);
  }
  if (samples.node) {
    for (const VmiSample& vmi : samples.node->vmis) {
      if (VmState* vm = FindById(vms, vmi.spec.id)) TakeVmi(*vm, vmi);
    }
  }

  for (VmState& vm : vms) {
    vm.kept = WatchKept(FindById(previous.vms, vm.spec.id), vm, samples.at.boot);
    if (vm.exempt.empty()) vm.exempt = WhyKept(vm.kept, samples.at.boot);
  }

  Snapshot snapshot;
  snapshot.at = samples.at;
  snapshot.host = std::move(samples.host);
  snapshot.vms = std::move(vms);
  snapshot.vms_listed_at = samples.vms_listed_at;
  snapshot.grants_complete = samples.grants_complete;
  snapshot.vms_fault = std::move(samples.vms_fault);
  snapshot.guest_changes = std::move(samples.guest_changes);
  snapshot.node = std::move(samples.node);
  snapshot.carried = std::move(carried);
  return snapshot;
}

Snapshot Remember(Snapshot snapshot, const Plan& plan) {
  snapshot.carried = plan.carry;
  for (std::size_t i = 0; i < plan.hybrid.size() && i < snapshot.vms.size(); ++i) {
    snapshot.vms[i].hybrid = plan.hybrid[i];
  }
  return snapshot;
}

}  // namespace ullage
