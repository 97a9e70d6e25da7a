// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "node-agent/host/clock.h"
#include "node-agent/model/plan.h"

namespace ullage::publishers {

/// For tests: a node of 8 GiB with one VM of 2 GiB of which 1.5 GiB came back.
inline VmState SampleVm(const std::string& name = "web-1",
                        const std::string& id = "6f9b1c1e-0d3c-4d57-9d0c-0123456789ab") {
  VmState vm;
  vm.spec.id.value = id;
  vm.spec.name = name;
  vm.spec.guest_memory = Bytes::GiB(2);
  vm.promised = vm.ordinary = Bytes::GiB(2) + Bytes::MiB(136);
  vm.resident = Bytes::MiB(512);
  vm.peak = Bytes::GiB(2);
  vm.returned = Bytes::MiB(1536);
  vm.proof = {true, true, true, true};
  vm.hinting = Hinting::kOn;
  vm.run = Run::kRunning;
  vm.answered_at = BootTime(seconds(99));
  vm.agent = GuestAgent::kReads;
  vm.module = GuestModule{.reporting = true,
                          .reported = Bytes::MiB(1700),
                          .report_errors = 0,
                          .balloon = Bytes(),
                          .other = {{"passes", 12}},
                          .parameters = {{"settle_ms", "50"}},
                          .written = {},
                          .read_at = BootTime(seconds(95))};
  return vm;
}

inline Report SampleReport(std::uint64_t tick = 1) {
  Report report;
  report.tick = tick;
  report.mode = "publish";
  report.snapshot.at = {BootTime(seconds(100)), WallTime(seconds(1700000000))};
  HostSample& host = report.snapshot.host;
  host.total = Bytes::GiB(8);
  host.available = Bytes::GiB(6);
  host.free = Bytes::GiB(5);
  host.pressure_some_avg10 = Permyriad{25};
  report.snapshot.vms_listed_at = BootTime(seconds(100));
  report.snapshot.vms.push_back(SampleVm());
  report.plan.vms.push_back({report.snapshot.vms[0].spec.id, Bytes::MiB(218), "it may grow"});
  Capacity& capacity = report.plan.capacity;
  capacity.promised = report.snapshot.vms[0].promised;
  capacity.granted = Bytes::MiB(64);
  capacity.additional = Bytes::MiB(448);
  capacity.published = Bytes::MiB(512);
  capacity.reason = "all that is safe";
  capacity.terms = CapacityTerms{};
  capacity.terms->bound = Bytes::MiB(-10);
  return report;
}

inline std::shared_ptr<const Report> Shared(Report report) {
  return std::make_shared<const Report>(std::move(report));
}

class FakeClock final : public host::Clock {
 public:
  Moment Now() const override { return {BootTime(now), WallTime(now)}; }
  milliseconds now{100000};
};

}  // namespace ullage::publishers
