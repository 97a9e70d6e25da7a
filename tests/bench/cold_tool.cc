// SPDX-License-Identifier: Apache-2.0
// cold_tool PID CGROUP MIB COLD_AFTER: probe and pager on one process with MIB of guest memory, by
// commands on standard input. Each answers one line:
//   look      what is cold and active, and what became of the wishes so far
//   out MIB   page out so much of what is cold
//   fetch     read ahead what was paged out
#include <iostream>

#include "node-agent/actuators/pager.h"
#include "node-agent/host/text.h"
#include "node-agent/sources/working_set.h"

namespace ullage {
namespace {

void Look(const sources::Probe& probe, const actuators::Pager& pager, const VmId& vm) {
  const WorkingSet set = probe.Latest(vm);
  const actuators::PagerCounts counts = pager.Counts();
  std::cout << "cold " << (set.cold ? set.cold->mib() : -1) << " active "
            << (set.active ? set.active->value : -1) << " taken " << counts.taken.mib()
            << " stayed " << counts.stayed.mib() << " fetched " << counts.fetched.mib()
            << " failures " << counts.failures << " probe "
            << (set.probe.empty() ? "none" : set.probe) << " " << set.fault << " "
            << pager.Fault(vm) << std::endl;
}

int Serve(const host::VmProcess& vm, seconds cold_after) {
  const host::Roots roots;
  const host::SystemClock clock;
  std::string why;
  const auto probe = sources::ChooseProbe(roots, clock, cold_after, why);
  if (probe == nullptr) {
    std::cerr << why << "\n";
    return 1;
  }
  actuators::Pager pager(
      [&](const host::VmProcess& process) { return host::QemuMemory::Open(roots, process); },
      [&](const VmId& id, Bytes amount) { return probe->TakeCold(id, amount); });
  probe->Watch({vm});
  pager.Know({vm});
  for (std::string line; std::getline(std::cin, line);) {
    std::string_view rest = line;
    const std::string_view word = host::TakeUntil(rest, ' ');
    if (word == "out") {
      const auto mib = host::ParseUnsigned(rest);
      const Status asked =
          pager.PageOut(vm.id, Bytes::MiB(static_cast<std::int64_t>(mib.value_or(0))));
      if (!asked) std::cerr << asked.error().message() << "\n";
    } else if (word == "fetch") {
      if (const Status asked = pager.Fetch(vm.id); !asked)
        std::cerr << asked.error().message() << "\n";
    }
    Look(*probe, pager, vm.id);
  }
  return 0;
}

}  // namespace
}  // namespace ullage

int main(int argc, char** argv) {
  using namespace ullage;
  const auto pid = host::ParseUnsigned(argc == 5 ? argv[1] : "");
  const auto mib = host::ParseUnsigned(argc == 5 ? argv[3] : "");
  const auto cold_after = host::ParseUnsigned(argc == 5 ? argv[4] : "");
  if (!pid || !mib || !cold_after) {
    std::cerr << "usage: cold_tool PID CGROUP MIB COLD_AFTER_SECONDS\n";
    return 2;
  }
  host::VmProcess vm;
  vm.id.value = "vm";
  vm.pid = static_cast<std::int32_t>(*pid);
  vm.cgroup = argv[2];
  vm.guest_memory = Bytes::MiB(static_cast<std::int64_t>(*mib));
  return Serve(vm, seconds(*cold_after));
}
