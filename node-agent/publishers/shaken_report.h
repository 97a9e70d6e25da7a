// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <random>

#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {

/// For tests: a report that changes in one thing at a time, often by as much as just is, or just is
/// not, worth a word. The same for the same seed.
class ShakenReport {
 public:
  explicit ShakenReport(unsigned seed) : random_(seed) {
    report.snapshot.vms.clear();
    report.plan.vms.clear();
    while (report.snapshot.vms.size() < 4) ComeOrGo();
  }

  static constexpr int kVms = 8;
  static VmState Vm(int number) {
    return SampleVm("apps/web-" + std::to_string(number), "uid-" + std::to_string(number));
  }

  void Shake() {
    ShakeVm();
    if (Any(24) == 0) ComeOrGo();
    if (Any(3) == 0) ShakeHead();
    if (Any(24) == 0) report.mode = report.mode == "publish" ? "reclaim" : "publish";
    if (Any(24) == 0) Turn(report.snapshot.host.fault);
    if (Any(24) == 0) Turn(report.snapshot.vms_fault);
    report.outcomes.clear();
    if (Any(16) != 0) return;
    const auto state = Any(2) == 0 ? Outcome::State::kSkipped : Outcome::State::kDone;
    report.outcomes = {{{Action::Kind::kSwitchHintingOn, Vm(Any(kVms)).spec.id, "r"}, state, ""}};
  }

  Report report = SampleReport();

 private:
  int Any(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  // Texts that hold figures are no change: which of the two it is hardly matters.
  void Turn(std::string& text) { text = text.empty() ? "broken " + std::to_string(Any(9)) : ""; }

  void Move(Bytes& size) {
    const std::array by{Bytes(1),       Bytes::MiB(63),
                        Bytes::MiB(64), Bytes::MiB(64) + Bytes(1),
                        Bytes::GiB(4),  Bytes(size.count() / 16),
                        size,           Bytes(size.count() / 16) + Bytes(1)};
    const Bytes chosen = by.at(static_cast<std::size_t>(Any(by.size())));
    size = Any(2) == 0 ? size + chosen : size - chosen;
    size = Clamp(size, Bytes::GiB(-1), Bytes::GiB(64));
  }
  void Move(std::optional<Bytes>& size) {
    if (size && Any(4) == 0) {
      size.reset();
    } else {
      if (!size) size = Bytes::MiB(512);
      Move(*size);
    }
  }

  void ShakeVm() {
    const int index = Any(static_cast<int>(report.snapshot.vms.size()));
    VmState& vm = report.snapshot.vms[static_cast<std::size_t>(index)];
    VmDecision& decision = report.plan.vms[static_cast<std::size_t>(index)];
    switch (Any(17)) {
      case 0:
        return Move(vm.promised);
      case 1:
        return Move(vm.resident);
      case 2:
        return Move(vm.swapped);
      case 3:
        return Move(vm.returned);
      case 4:
        return Move(decision.growth);
      case 5:
        return Move(vm.spec.guest_memory);
      case 6:
        return Move(vm.reclaimed);
      case 7:
        vm.hinting = static_cast<Hinting>(Any(5));
        return;
      case 8:
        vm.run = static_cast<Run>(Any(4));
        return;
      case 9:
        vm.spec.placement = static_cast<Placement>(Any(2));
        return;
      case 10:
        vm.spec.reclaim = static_cast<Reclaim>(Any(3));
        return;
      case 11:
        vm.agent = static_cast<GuestAgent>(Any(7));
        return;
      case 12:
        ++vm.epoch;
        return;
      case 13:
        vm.stalled = !vm.stalled;
        return;
      case 14:
        return Turn(vm.exempt);
      case 15:
        return Turn(vm.fault);
      default:
        vm.spec.name = "apps/" + std::to_string(Any(9));
    }
  }

  void ComeOrGo() {
    auto& vms = report.snapshot.vms;
    auto& decisions = report.plan.vms;
    const VmState vm = Vm(Any(kVms));
    std::size_t at = 0;
    while (at < vms.size() && vms[at].spec.id < vm.spec.id) ++at;
    const auto place = static_cast<std::ptrdiff_t>(at);
    if (at == vms.size() || vms[at].spec.id != vm.spec.id) {
      vms.insert(vms.begin() + place, vm);
      decisions.insert(decisions.begin() + place, {vm.spec.id, Bytes::MiB(218), "it may grow"});
    } else if (vms.size() > 1) {
      vms.erase(vms.begin() + place);
      decisions.erase(decisions.begin() + place);
    }
  }

  void ShakeHead() {
    Capacity& capacity = report.plan.capacity;
    if (!capacity.terms) capacity.terms = CapacityTerms{};
    CapacityTerms& terms = *capacity.terms;
    const std::array sizes{&capacity.promised,  &capacity.granted, &capacity.additional,
                           &capacity.published, &capacity.unsold,  &terms.available,
                           &terms.recoverable,  &terms.growth,     &terms.buffer,
                           &terms.unsold,       &terms.not_ours,   &terms.cap,
                           &terms.bound,        &terms.bound_full};
    Move(*sizes.at(static_cast<std::size_t>(Any(sizes.size()))));
    if (Any(8) == 0) capacity.terms.reset();
  }

  std::mt19937 random_;
};

}  // namespace ullage::publishers
