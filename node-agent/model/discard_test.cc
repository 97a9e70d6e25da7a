// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/discard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "node-agent/model/fold.h"

namespace ullage {
namespace {

using ::testing::HasSubstr;

constexpr BootTime kStart{seconds(100)};
constexpr BootTime kEnd = kStart + kDiscardPatience;

VmState Vm(std::int64_t charged_mib, std::int64_t unused_mib) {
  VmState vm;
  vm.spec.guest_memory = Bytes::MiB(4096);
  vm.hinting = Hinting::kOn;
  vm.resident = Bytes::MiB(charged_mib);
  vm.guest.unused = Bytes::MiB(unused_mib);
  vm.epoch = 1;
  vm.cgroup = 10;
  return vm;
}

// Watches `vm` at the start, then `later` at the end of the patience.
std::string After(VmState vm, VmState later) {
  vm.kept = WatchKept(nullptr, vm, kStart);
  return WhyKept(WatchKept(&vm, later, kEnd), kEnd);
}

TEST(Discard, AChargeThatNeverFallsFindsTheHostOut) {
  VmState vm = Vm(4100, 3000);
  vm.kept = WatchKept(nullptr, vm, kStart);
  ASSERT_TRUE(vm.kept);
  EXPECT_EQ(WhyKept(vm.kept, kEnd - seconds(1)), "") << "in a while it may fall";
  EXPECT_THAT(WhyKept(WatchKept(&vm, vm, kEnd), kEnd), HasSubstr("the host keeps it"));
}

TEST(Discard, AHostThatDiscardsIsNotSuspected) {
  EXPECT_FALSE(WatchKept(nullptr, Vm(1200, 3000), kStart)) << "what the guest uses, and QEMU";
  EXPECT_FALSE(WatchKept(nullptr, Vm(3700, 3000), kStart)) << "some came back";
  EXPECT_FALSE(WatchKept(nullptr, Vm(4100, 1023), kStart)) << "the guest uses most of it";
  VmState small = Vm(520, 140);
  small.spec.guest_memory = Bytes::MiB(512);
  EXPECT_FALSE(WatchKept(nullptr, small, kStart)) << "QEMU's own memory may be as much";
}

TEST(Discard, WhoGivesSomethingBackIsWatchedAnew) {
  EXPECT_NE(After(Vm(4100, 3000), Vm(3845, 3000)), "");
  EXPECT_EQ(After(Vm(4100, 3000), Vm(3844, 3000)), "") << "a sixteenth of the guest";
  EXPECT_NE(After(Vm(3800, 3000), Vm(4100, 3000)), "") << "it rose";
  VmState rose = Vm(3800, 3000);
  rose.kept = WatchKept(nullptr, rose, kStart);
  VmState high = Vm(4100, 3000);
  high.kept = WatchKept(&rose, high, kStart + seconds(1));
  EXPECT_EQ(WhyKept(WatchKept(&high, Vm(3800, 3000), kEnd), kEnd), "") << "and fell again";
}

TEST(Discard, AnotherEpochCgroupOrSilenceStartsAnew) {
  VmState other = Vm(4100, 3000);
  other.epoch = 2;
  EXPECT_EQ(After(Vm(4100, 3000), other), "");
  other = Vm(4100, 3000);
  other.cgroup = 11;
  EXPECT_EQ(After(Vm(4100, 3000), other), "");
  for (const auto silent :
       {+[](VmState& vm) { vm.guest.unused.reset(); }, +[](VmState& vm) { vm.resident.reset(); },
        +[](VmState& vm) { vm.hinting = Hinting::kUnknown; }}) {
    VmState vm = Vm(4100, 3000);
    silent(vm);
    EXPECT_FALSE(WatchKept(nullptr, vm, kStart)) << "unknown proves nothing";
  }
}

TEST(Discard, FoldWatchesFromTickToTick) {
  const auto samples = [](BootTime at) {
    VmSample vm;
    vm.qemu.spec.id.value = "a";
    vm.qemu.spec.guest_memory = Bytes::MiB(4096);
    vm.qemu.hinting = {true, true, true, true};
    vm.qemu.guest.unused = Bytes::MiB(3000);
    vm.charge.resident = Bytes::MiB(4100);
    Samples all;
    all.at.boot = at;
    all.vms.push_back(std::move(vm));
    return all;
  };
  const Snapshot first = Fold({}, samples(kStart), Overhead{});
  EXPECT_EQ(first.vms[0].exempt, "");
  const Snapshot last = Fold(first, samples(kEnd), Overhead{});
  EXPECT_THAT(last.vms[0].exempt, HasSubstr("the host keeps it"));
}

}  // namespace
}  // namespace ullage
