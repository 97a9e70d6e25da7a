// SPDX-License-Identifier: Apache-2.0
// What one decision costs: time by Google Benchmark, and whether memory grows from tick to tick.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "node-agent/model/fold.h"
#include "node-agent/policy/policy.h"

namespace {

std::atomic<std::int64_t> live{0};  // allocations that nobody has freed

}  // namespace

void* operator new(std::size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  ++live;
  return memory;
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) --live;
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace ullage {
namespace {

// Every second VM is hybrid and every fourth on reclaimed memory; what they hold goes up and down.
Snapshot Node(std::size_t vms) {
  Snapshot node;
  node.at.boot = BootTime(std::chrono::hours(1));
  node.grants_complete = true;
  const auto count = static_cast<std::int64_t>(vms);
  node.host.total = Bytes::GiB(3 * count);
  node.host.available = Bytes::GiB(2 * count);
  node.host.free = Bytes::GiB(count);
  node.host.swap_total = node.host.swap_free = Bytes::GiB(count);
  node.host.pressure_some_avg10 = Permyriad{0};
  for (std::size_t i = 0; i < vms; ++i) {
    VmState vm;
    vm.spec.id.value = "vm-" + std::to_string(100000 + i);
    vm.spec.name = vm.spec.id.value;
    vm.spec.guest_memory = Bytes::GiB(2);
    vm.spec.reclaim = i % 2 == 0 ? Reclaim::kHybrid : Reclaim::kHints;
    vm.promised = Bytes::MiB(2184);
    vm.reclaimed = i % 4 == 0 ? Bytes::MiB(1024) : Bytes();
    vm.ordinary = vm.promised - vm.reclaimed;
    vm.run = Run::kRunning;
    vm.hinting = Hinting::kOn;
    vm.proof.at_next_start = true;
    vm.cgroup = i + 1;
    vm.epoch = 1;
    vm.watched_since = BootTime(seconds(1));
    node.vms.push_back(std::move(vm));
  }
  return node;
}

void Tick(Snapshot& node, std::int64_t tick) {
  node.at.boot += seconds(1);
  node.vms_listed_at = node.at.boot;
  for (std::size_t i = 0; i < node.vms.size(); ++i) {
    VmState& vm = node.vms[i];
    const auto phase = (tick + static_cast<std::int64_t>(i) * 7) % 600;
    vm.resident = Bytes::MiB(600 + (phase < 300 ? phase : 600 - phase));
    vm.kernel_peak = Bytes::MiB(900);
    vm.swapped = Bytes();
    vm.answered_at = node.at.boot;
    vm.faults_a_minute = 0;
    if (vm.spec.reclaim == Reclaim::kHybrid) {
      vm.working_set = {Bytes::MiB(200), Permyriad{5000}, node.at.boot, "idle-page", ""};
    }
  }
}

void Decide(benchmark::State& state) {
  Snapshot node = Node(static_cast<std::size_t>(state.range(0)));
  policy::Policy policy;
  const PolicyParams params;
  std::int64_t tick = 0;
  const auto decide = [&] {
    const Plan plan = policy.Decide(node, params);
    node = Remember(std::move(node), plan);
  };
  // Two horizons: every window is full, every VM known.
  for (; tick < 1200; ++tick) {
    Tick(node, tick);
    decide();
  }
  const std::int64_t before = live;
  for (auto step : state) {
    state.PauseTiming();
    Tick(node, tick++);
    state.ResumeTiming();
    decide();
  }
  state.counters["kept_allocations"] = static_cast<double>(live - before);
}
BENCHMARK(Decide)
    ->Arg(100)
    ->Arg(1000)
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(1200)
    ->Repetitions(5);

}  // namespace
}  // namespace ullage

BENCHMARK_MAIN();
