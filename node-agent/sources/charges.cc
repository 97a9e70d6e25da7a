// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/charges.h"

#include <unistd.h>

#include <iterator>
#include <unordered_map>

#include "node-agent/sources/host_memory.h"

namespace ullage::sources {
namespace {

ChargeSample Unknown(std::string why) {
  ChargeSample sample;
  sample.fault = std::move(why);
  return sample;
}

constexpr std::size_t kPlaceLimit = 16 << 10;

// Nobody looks at less of what a VM holds.
constexpr Bytes kNoticed = Bytes::MiB(1);

ChargeSample LookAtAll(const host::MemoryCgroup& cgroup, Bytes usage) {
  ChargeSample sample;
  sample.cgroup = cgroup.inode();
  sample.resident = usage;
  if (const auto peak = cgroup.Peak(); !peak) {
    sample.fault = peak.error().message();
  } else {
    sample.peak = *peak;
  }
  if (const auto swap = cgroup.Swap(usage); !swap) {
    sample.fault = swap.error().message();
  } else {
    sample.swapped = *swap;
  }
  return sample;
}

// What only hybrid overcommit goes by; other VMs are spared the reads.
void ReadHybrid(const host::MemoryCgroup& cgroup, ChargeSample& sample) {
  const auto keep = [&](const auto& read, auto& field) {
    if (read.ok()) {
      field = *read;
    } else {
      sample.fault = read.error().message();
    }
  };
  keep(cgroup.SoftLimit(), sample.limit);
  keep(cgroup.SwapLimit(), sample.swap_limit);
  if (const auto faults = cgroup.ReadFaults(); faults.ok()) {
    sample.major_faults = faults->major;
    sample.refaults = faults->refaults;
  } else {
    sample.fault = faults.error().message();
  }
  const auto pressure = cgroup.Pressure();
  if (!pressure) return;  // v1, or a kernel without PSI: unknown, and no fault
  const auto some = ParsePressure(*pressure);
  keep(some, sample.pressure_some_avg10);
}

}  // namespace

ChargeSample Charges::ReadCgroup(const QemuFacts& vm, Entry& entry) {
  const auto usage = entry.cgroup->Usage();
  if (!usage) return Unknown(usage.error().message());
  // A peak that is older than the epoch would be taken for one of its own. And of what the host
  // itself takes, everything counts.
  if (--entry.rest <= 0 || entry.epoch != vm.epoch || !entry.looked.resident ||
      *entry.looked.resident - *usage >= kNoticed || vm.spec.reclaim == Reclaim::kHybrid) {
    entry.looked = LookAtAll(*entry.cgroup, *usage);
    entry.epoch = vm.epoch;
    entry.rest = entry.looked.fault.empty() ? kSeldom : 0;
    return entry.looked;
  }
  ChargeSample sample = entry.looked;
  sample.resident = *usage;
  return sample;
}

Status Charges::Reopen(const std::string& path, Entry& entry) {
  if (entry.path == path && entry.cgroup) return Ok();
  entry = {};
  auto cgroup = host::MemoryCgroup::Open(path);
  if (!cgroup) return cgroup.error();
  entry.path = path;
  entry.cgroup = std::move(*cgroup);
  return Ok();
}

ChargeSample Charges::ReadOne(const QemuFacts& vm, Entry& entry) const {
  if (!vm.memory_cgroup.empty()) {
    if (Status opened = Reopen(vm.memory_cgroup, entry); !opened) {
      return Unknown(opened.error().message());
    }
  } else if (!vm.pid) {
    // libvirt gives no pid while it is away; the cgroup that was found before is still the one.
    if (!entry.cgroup) return Unknown("no process id of its QEMU yet");
  } else {
    // Looked up each time: a QEMU may be moved, and its former cgroup live on.
    const auto path = host::MemoryCgroupOf(roots_, *vm.pid);
    if (!path) return Unknown(path.error().message());
    if (Status opened = Reopen(*path, entry); !opened) return Unknown(opened.error().message());
  }
  ChargeSample sample = ReadCgroup(vm, entry);
  if (!sample.resident) {
    entry = {};  // looked up anew at the next tick
  } else if (vm.spec.reclaim == Reclaim::kHybrid) {
    ReadHybrid(*entry.cgroup, sample);
  }
  return sample;
}

std::string Charges::PathOf(const VmId& vm) const {
  const auto known = entries_.find(vm);
  return known == entries_.end() || !known->second.cgroup ? "" : known->second.path;
}

void Charges::FindOwn() {
  char buffer[kPlaceLimit];
  const std::string file = host::ProcCgroup(roots_, getpid());
  const auto text = host::ReadKept(own_.place, file, buffer);
  if (!text) {
    own_.cgroup.reset();
    return;
  }
  if (own_.cgroup && *text == own_.text && --own_.rest > 0) return;
  own_.text = *text;
  own_.rest = kSeldom;
  own_.cgroup.reset();
  const auto place = host::LocateCgroup(roots_, *text);
  const auto path = place ? host::MemoryCgroupAt(roots_, *place) : place.error();
  if (!path) return;
  if (auto cgroup = host::MemoryCgroup::Open(*path)) own_.cgroup = *std::move(cgroup);
}

std::vector<ChargeSample> Charges::Read(const std::vector<QemuFacts>& vms) {
  ++calls_;
  FindOwn();
  std::vector<ChargeSample> samples;
  samples.reserve(vms.size());
  std::unordered_map<std::uint64_t, int> users;
  users.reserve(vms.size() + 1);
  if (own_.cgroup) ++users[own_.cgroup->inode()];
  auto next = entries_.begin();  // VMs are named in the order of the map, as a rule
  for (const QemuFacts& vm : vms) {
    const auto at = entries_.try_emplace(next, vm.spec.id);
    next = std::next(at);
    samples.push_back(ReadOne(vm, at->second));
    at->second.named = calls_;
    if (samples.back().cgroup != 0) ++users[samples.back().cgroup];
  }
  std::erase_if(entries_, [&](const auto& known) { return known.second.named != calls_; });
  for (ChargeSample& sample : samples) {
    // A charge that belongs to two cannot be told apart, and counting it twice would promise the
    // same memory twice.
    if (sample.cgroup != 0 && users[sample.cgroup] > 1) {
      sample = Unknown("its QEMU shares a memory cgroup with others: give each VM its own");
    }
  }
  return samples;
}

}  // namespace ullage::sources
