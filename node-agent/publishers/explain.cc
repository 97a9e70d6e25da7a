// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>
#include <vector>

#include "node-agent/host/text.h"
#include "node-agent/model/human.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

bool SameIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

std::string Promised(const VmState& vm) {
  std::string line = "It was promised " + Human(vm.promised) + ": " + Human(vm.spec.guest_memory) +
                     " for the guest and " + Human(vm.promised - vm.spec.guest_memory) +
                     " for QEMU itself.";
  if (vm.reclaimed > Bytes()) {
    line += " " + Human(vm.ordinary) + " of that stands on ordinary memory and " +
            Human(vm.reclaimed) + " on memory that other VMs gave back.";
  }
  return line;
}

std::string Holds(const VmState& vm) {
  if (vm.bound_only) return "It holds nothing yet: it was admitted and no QEMU has been seen.";
  if (!vm.resident) {
    return "What it holds is unknown" + (vm.fault.empty() ? "." : ": " + vm.fault + ".");
  }
  std::string line = "It holds " + Human(*vm.resident) +
                     " of the host's memory, as its cgroup "
                     "is charged";
  if (vm.swapped && *vm.swapped > Bytes()) line += ", and " + Human(*vm.swapped) + " in swap";
  return line + ".";
}

std::string CameBack(const VmState& vm) {
  if (!vm.returned || !vm.peak) return "What came back is unknown.";
  if (*vm.returned <= Bytes()) {
    return "Nothing came back yet: it holds as much as it ever did, " + Human(*vm.peak) + ".";
  }
  return Human(*vm.returned) + " came back: it held up to " + Human(*vm.peak) +
         " since the guest started.";
}

std::string Offered(const HintingProof& proof) {
  if (proof.balloon && !*proof.balloon) return "it has no virtio balloon device to report through";
  if (!proof.offered) return "QEMU has not said whether it offers it";
  return *proof.offered ? "QEMU offers it" : "QEMU does not offer it";
}

std::string Negotiated(const HintingProof& proof) {
  if (!proof.negotiated) return "whether the guest accepted it is unknown";
  return *proof.negotiated ? "the guest accepted it" : "the guest did not accept it";
}

std::string HintingLine(const VmState& vm) {
  std::string line = "Free page hinting is ";
  line += vm.hinting == Hinting::kOn        ? "on: "
          : vm.hinting == Hinting::kUnknown ? "not proven: "
                                            : "off: ";
  line += Offered(vm.proof);
  if (vm.hinting != Hinting::kNoBalloon) line += ", and " + Negotiated(vm.proof);
  return line + ".";
}

std::string Counts(const VmDecision* decision) {
  if (decision == nullptr) return "How it counts is not decided yet.";
  std::string line =
      "It counts with " + Human(decision->growth) + " that it may claim at any moment";
  return line + (decision->reason.empty() ? "." : ": " + decision->reason + ".");
}

// What is taken from it, or given back, and why.
std::string HybridLine(const VmState& vm, const VmDecision* decision) {
  if (vm.spec.reclaim != Reclaim::kHybrid || decision == nullptr) return "";
  std::string line = "Its owner allows hybrid reclaim";
  line += decision->hybrid.empty() ? "." : ": " + decision->hybrid + ".";
  if (vm.hybrid.balloon_wish) {
    line += " Its balloon is to leave it " + Human(*vm.hybrid.balloon_wish) + ".";
  }
  if (vm.proof.balloon.value_or(false) && !vm.autodeflate.value_or(false)) {
    line += vm.autodeflate ? " Its guest takes nothing back from its balloon by itself"
                           : " Whether its guest takes memory back from its balloon is unknown";
    line += " (<memballoon autodeflate='on'/>), so a fifth of its memory is left usable.";
  }
  if (vm.leased) {
    line += " Its limit is " + Human(vm.leased->limit) +
            (vm.leased->yielded ? ", and another program has changed it: left to that one." : ".");
  }
  return line;
}

std::string StaysLine(const VmState& vm) {
  if (vm.stays.empty()) return "";
  return "It is not asked to migrate" +
         std::string(vm.keeps_pod ? ", nor is it evicted (evictionStrategy LiveMigrate)" : "") +
         ", because KubeVirt says that it cannot: " + vm.stays + ".";
}

std::string GuestSays(const GuestStats& guest) {
  std::string line;
  const auto add = [&](const char* what, const std::optional<Bytes>& size) {
    if (size) line += (line.empty() ? "" : ", ") + Human(*size) + what;
  };
  add(" in all", guest.available);
  add(" free", guest.unused);
  add(" usable", guest.usable);
  return line.empty() ? "" : "The guest itself says (shown, not believed): " + line + ".";
}

// The guest's driver as a further witness of hinting: shown beside the proof, and no part of it.
std::string DriverSays(const VmState& vm) {
  const auto& module = vm.module;
  if (!module) return "";
  std::string line = "The guest's driver says (shown, not believed): it ";
  line += !module->reporting   ? "does not say whether it reports"
          : *module->reporting ? "reports free pages"
                               : "does not report free pages now";
  if (module->reported) line += ", " + Human(*module->reported) + " so far";
  if (module->report_errors && *module->report_errors > 0) {
    line += ", " + std::to_string(*module->report_errors) + " reports failed";
  }
  if (module->balloon && *module->balloon > Bytes()) {
    line += ", " + Human(*module->balloon) + " are in its balloon";
  }
  for (const auto& [name, value] : module->parameters) {
    line.append(", ").append(name).append("=").append(value);
  }
  line += ".";
  if (vm.hinting == Hinting::kOn && module->reporting && !*module->reporting) {
    line += " So hinting is agreed on and idle: look at its parameter reporting and its log.";
  }
  return line;
}

std::string AgentSays(const VmState& vm) {
  const std::string why = vm.agent_fault.empty() ? "." : ": " + vm.agent_fault + ".";
  switch (vm.agent) {
    case GuestAgent::kSilent:
      return "The guest's agent does not answer, so its driver's counters are unknown" + why;
    case GuestAgent::kNotConnected:
      return "No agent runs in the guest, so its driver's counters are unknown" + why;
    case GuestAgent::kNoModule:
      return "The guest's agent answers, and ullage_balloon's counters could not be read" + why;
    case GuestAgent::kReads:
      return vm.agent_fault.empty() ? "" : "In the guest: " + vm.agent_fault + ".";
    case GuestAgent::kUnknown:
    case GuestAgent::kDenied:
    case GuestAgent::kNoChannel:
      break;
  }
  return "";
}

std::string ToDo(const VmState& vm) {
  if (vm.spec.reclaim == Reclaim::kOff) {
    return "Its owner opted out (reclaim='off'): nothing is done, and it counts in full.";
  }
  if (!vm.exempt.empty()) return "It is left alone, and counts in full: " + vm.exempt + ".";
  if (vm.bound_only) return "";
  switch (vm.hinting) {
    case Hinting::kNoBalloon:
      return "To do: add <memballoon model='virtio' freePageReporting='on'/> to the domain and "
             "start it anew.";
    case Hinting::kNotOffered:
      return vm.proof.at_next_start.value_or(false)
                 ? "To do: shut it down and start it; its definition already offers hinting then."
                 : "To do: set freePageReporting='on' at the domain's <memballoon>, or run the "
                   "agent in mode publish, which does; then start it anew.";
    case Hinting::kNotNegotiated:
      return "To do: load a balloon driver in the guest that reports free pages (Linux 5.7 or "
             "newer, or ullage_balloon.ko).";
    case Hinting::kUnknown:
      return vm.stalled ? "To do: look at this QEMU, it does not answer."
                        : "To do: nothing yet; it counts carefully until hinting is proven.";
    case Hinting::kOn:
      break;
  }
  return "To do: nothing.";
}

std::vector<std::string> Lines(const VmState& vm, const VmDecision* decision) {
  std::vector<std::string> lines{Promised(vm), Holds(vm), CameBack(vm), HintingLine(vm)};
  lines.push_back(GuestSays(vm.guest));
  lines.push_back(DriverSays(vm));
  lines.push_back(AgentSays(vm));
  lines.push_back(Counts(decision));
  lines.push_back(HybridLine(vm, decision));
  lines.push_back(StaysLine(vm));
  lines.push_back(vm.spec.bad_setting);
  lines.push_back(vm.stalled ? "QEMU does not answer in time; these are its last words." : "");
  lines.push_back(ToDo(vm));
  return lines;
}

Result<std::size_t> Find(const std::vector<VmState>& vms, std::string_view wanted) {
  std::vector<std::size_t> named;
  for (std::size_t i = 0; i < vms.size(); ++i) {
    if (SameIgnoringCase(vms[i].spec.id.value, wanted)) return i;
    if (vms[i].spec.name == wanted) named.push_back(i);
  }
  const std::string shown = host::Printable(wanted, kNameLimit);
  if (named.empty()) return Error(Code::kNotFound, "no VM has the name or UUID '" + shown + "'");
  if (named.size() == 1) return named.front();
  return Error(Code::kInvalid,
               std::to_string(named.size()) + " VMs are called '" + shown + "': ask by UUID");
}

}  // namespace

Result<v1::Explanation> Explain(const Report& report, std::string_view vm) {
  const Result<std::size_t> index = Find(report.snapshot.vms, vm);
  if (!index) return index.error();
  v1::Explanation out;
  FillVm(report, *index, *out.mutable_vm());
  FillCapacity(report.plan.capacity, *out.mutable_capacity());
  out.set_observed_at_unix_ms(
      std::chrono::duration_cast<milliseconds>(report.snapshot.at.wall.time_since_epoch()).count());
  for (const std::string& line : Lines(report.snapshot.vms[*index], DecisionOf(report, *index))) {
    if (!line.empty()) out.add_lines(Text(line));
  }
  return out;
}

}  // namespace ullage::publishers
