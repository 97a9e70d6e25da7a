// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/discard.h"

#include <algorithm>

namespace ullage {
namespace {

constexpr Permyriad kQuarter{2500}, kNearlyAll{8750}, kSixteenth{625};

Bytes Charged(const VmState& vm) { return *vm.resident + vm.swapped.value_or(Bytes()); }

// Is much charged to the VM that its guest says it does not use?
bool Suspect(const VmState& vm) {
  if (vm.hinting != Hinting::kOn || !vm.resident || !vm.guest.unused) return false;
  const Bytes unused = *vm.guest.unused;
  const Bytes kept = Charged(vm) - (vm.spec.guest_memory - unused);
  return unused >= vm.spec.guest_memory * kQuarter &&
         kept >= std::max(unused * kNearlyAll, kDiscardLeast);
}

}  // namespace

std::optional<KeptWatch> WatchKept(const VmState* before, const VmState& now, BootTime at) {
  if (!Suspect(now)) return std::nullopt;
  const Bytes charged = Charged(now);
  const KeptWatch fresh{at, charged};
  if (before == nullptr || !before->kept) return fresh;
  if (before->epoch != now.epoch || before->cgroup != now.cgroup) return fresh;
  const Bytes most = std::max(before->kept->most, charged);
  if (most - charged >= now.spec.guest_memory * kSixteenth) return fresh;
  return KeptWatch{before->kept->since, most};
}

std::string WhyKept(const std::optional<KeptWatch>& watch, BootTime at) {
  if (!watch || at - watch->since < kDiscardPatience) return "";
  return "its guest returns memory and the host keeps it: a device that is passed through, locked "
         "memory, or free memory too scattered to return";
}

}  // namespace ullage
