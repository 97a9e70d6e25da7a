// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/events.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "node-agent/host/text.h"
#include "node-agent/model/find.h"
#include "node-agent/publishers/node_resource.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

constexpr const char* kComponent = "ullage-agent";
// An object's name is a DNS subdomain: at most this many bytes.
constexpr std::size_t kNameMost = 253;
constexpr std::size_t kHashed = 16;
constexpr std::size_t kShownName = 80;

// FNV-1a: a name has to be the same in every run and on every machine, and no secret.
std::uint64_t Hash(const std::string& text) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211u;
  }
  return hash;
}

Notice About(const VmiSample& vmi, bool warning, const char* reason, const std::string& message) {
  return {vmi.name_space, vmi.name, vmi.spec.id.value,
          warning,        reason,   host::Printable(message, kNoticeLimit),
          true,           false};
}

// The kubelet's own words come last: what is too long loses of them.
Notice About(const RejectedPod& pod, const std::string& node) {
  const bool lost_race = pod.reason == "OutOf" + std::string(kReclaimableMemory);
  const bool of_vmi = !pod.vmi.empty();
  std::string message = "Pod " + host::Printable(pod.name, kShownName) +
                        " was rejected by the kubelet of node " + node + ": ";
  message += lost_race ? "the reclaimable memory that it was to stand on was taken back, or went "
                         "to another, while it was being placed. "
                       : "the node had no longer what the pod asks for. ";
  message +=
      of_vmi ? "Nothing of it ran. Next, KubeVirt starts a VirtualMachine that is to run again; "
               "a VMI without one stays Failed: create it anew; a VM that was to migrate goes "
               "on where it is. "
             : "Nothing of it ran. Next, what made the pod (a Deployment, a Job) makes another; "
               "one that nothing made stays Failed: create it anew. ";
  message += pod.reason + (pod.message.empty() ? "" : ": " + pod.message);
  return {pod.name_space,
          of_vmi ? pod.vmi : pod.name,
          of_vmi ? pod.vmi_uid : pod.uid,
          true,
          "PodRejected",
          host::Printable(message, kNoticeLimit),
          true,
          !of_vmi};
}

// What its owner can do; what the node's owner can is in ullagectl explain.
std::string HintingOff(const VmiSample& vmi, const Snapshot& snapshot) {
  if (!vmi.hints_off.empty()) {
    return "Memory that the guest frees does not come back to the node: " + vmi.hints_off;
  }
  const VmState* vm = FindById(snapshot.vms, vmi.spec.id);
  if (vm == nullptr) return "";
  switch (vm->hinting) {
    case Hinting::kNoBalloon:
      return "Memory that the guest frees does not come back to the node: the VM has no virtio "
             "balloon. Remove spec.domain.devices.autoattachMemBalloon: false and restart the VM.";
    case Hinting::kNotOffered:
      return "Memory that the guest frees does not come back to the node: QEMU does not offer free "
             "page reporting. It may be switched off in KubeVirt's configuration or by the "
             "annotation kubevirt.io/free-page-reporting-disabled; a VM that was started before "
             "needs a restart.";
    case Hinting::kNotNegotiated:
      return "Memory that the guest frees does not come back to the node: the guest's balloon "
             "driver does not report free pages. Linux 5.7 or newer does; for older ones there is "
             "ullage_balloon.";
    case Hinting::kUnknown:
    case Hinting::kOn:
      break;
  }
  return "";
}

// Nobody's objects are touched then.
bool Observes(const Report& report) {
  const auto& node = report.snapshot.node;
  return report.mode == Name(Mode::kObserve) || (node && node->max_mode == Mode::kObserve);
}

void AddOutcomes(const Report& report, const VmiSample& vmi, std::vector<Notice>& out) {
  for (const Outcome& outcome : report.outcomes) {
    if (!(outcome.action.id == vmi.spec.id)) continue;
    const bool failed = outcome.state == Outcome::State::kFailed;
    // Whoever is evicted may have ended before the tick that knows what came of it.
    const bool ends =
        outcome.action.kind == Action::Kind::kEvict && outcome.state == Outcome::State::kQueued;
    if (!failed && !ends && outcome.state != Outcome::State::kDone) continue;
    const std::string what = std::string(Name(outcome.action.kind)) + ": " + outcome.action.reason;
    Notice notice = About(vmi, failed, failed ? "ReclaimActionFailed" : "ReclaimAction",
                          outcome.message.empty() ? what : what + ": " + outcome.message);
    notice.lasts = false;
    out.push_back(std::move(notice));
  }
}

k8s::Event EventOf(const Notice& notice, const std::string& name, const std::string& node,
                   WallTime now) {
  k8s::Event event;
  event.set_api_version("v1");
  event.set_kind("Event");
  event.mutable_metadata()->set_name(name);
  event.mutable_metadata()->set_namespace_(notice.name_space);
  k8s::ObjectReference& about = *event.mutable_involved_object();
  about.set_api_version(notice.about_pod ? "v1" : "kubevirt.io/v1");
  about.set_kind(notice.about_pod ? "Pod" : "VirtualMachineInstance");
  about.set_namespace_(notice.name_space);
  about.set_name(notice.name);
  about.set_uid(notice.uid);
  event.set_reason(notice.reason);
  event.set_message(notice.message);
  event.set_type(notice.warning ? "Warning" : "Normal");
  event.set_count(1);
  event.set_first_timestamp(Rfc3339(now));
  event.set_last_timestamp(Rfc3339(now));
  event.mutable_source()->set_component(kComponent);
  event.mutable_source()->set_host(node);
  event.set_reporting_component(kComponent);
  event.set_reporting_instance(node);
  return event;
}

}  // namespace

std::vector<Notice> NoticesOf(const Report& report) {
  std::vector<Notice> notices;
  if (!report.snapshot.node) return notices;
  for (const VmiSample& vmi : report.snapshot.node->vmis) {
    if (vmi.name_space.empty() || vmi.name.empty() || vmi.spec.id.value.empty()) continue;
    const auto add = [&](bool warning, const char* reason, const std::string& message) {
      if (!message.empty()) notices.push_back(About(vmi, warning, reason, message));
    };
    add(true, "BadSetting", vmi.spec.bad_setting);
    add(true, "NotReadable", vmi.fault);
    if (!vmi.exempt.empty()) {
      add(false, "ReclaimExempt", "Ullage leaves this VM alone: " + vmi.exempt);
    } else if (vmi.spec.reclaim != Reclaim::kOff) {
      add(false, "HintingOff", HintingOff(vmi, report.snapshot));
    }
    AddOutcomes(report, vmi, notices);
  }
  for (const RejectedPod& pod : report.snapshot.node->rejected) {
    if (pod.name_space.empty() || pod.name.empty() || pod.uid.empty()) continue;
    notices.push_back(About(pod, report.snapshot.node->name));
  }
  return notices;
}

std::string EventName(const Notice& notice) {
  std::array<char, kHashed + 1> hash{};
  std::snprintf(hash.data(), hash.size(), "%016llx",
                static_cast<unsigned long long>(
                    Hash(notice.uid + '\n' + notice.reason + '\n' + notice.message)));
  // It stays a name: the dot that follows ends no piece of it with '-' or '.'.
  std::string name = notice.name.substr(0, kNameMost - kHashed - 1);
  while (!name.empty() && (name.back() == '.' || name.back() == '-')) name.pop_back();
  return name + "." + hash.data();
}

void EventWriter::Refill() {
  const BootTime now = Now();
  if (refilled_) {
    const std::chrono::duration<double, std::milli> passed = now - *refilled_;
    tokens_ = std::min(rules_.burst,
                       tokens_ + passed.count() / static_cast<double>(rules_.refill.count()));
  }
  refilled_ = now;
}

bool EventWriter::TakeToken() {
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

Status EventWriter::Create(const Notice& notice, const std::string& event, Known& known,
                           WallTime now, const std::stop_token& stop) {
  const auto made =
      client().Create({kube::kEvents, notice.name_space}, EventOf(notice, event, node_, now), stop);
  if (made) {
    known.count = 1;
    known.first = now;
    return Ok();
  }
  if (made.error().code() != Code::kExists) return made.error();
  // An agent before this one has said it.
  known.count = 1;
  if (const auto old = client().Get<k8s::Event>({kube::kEvents, notice.name_space, event}, stop)) {
    known.count = std::max(1, old->count());
  }
  return Ok();
}

Status EventWriter::Tell(const Notice& notice, const std::string& event, Known& known, WallTime now,
                         const std::stop_token& stop) {
  if (known.count == 0) return Create(notice, event, known, now, stop);
  k8s::Event change;
  change.set_count(known.count + 1);
  change.set_last_timestamp(Rfc3339(now));
  const auto body = kube::WriteJson(change);
  if (!body) return body.error();
  const auto done = client().PatchText({kube::kEvents, notice.name_space, event},
                                       {"application/merge-patch+json", *body}, stop);
  if (done) {
    ++known.count;
    return Ok();
  }
  // Events live for an hour; then it is said anew.
  if (done.error().code() != Code::kNotFound) return done.error();
  return Create(notice, event, known, now, stop);
}

EventWriter::Known* EventWriter::Remembered(const Notice& notice, const std::string& event) {
  const auto at = known_.find(event);
  if (at != known_.end()) return &at->second;
  if (known_.size() >= rules_.most_known) return nullptr;
  Known& known = known_[event];
  known.uid = notice.uid;
  return &known;
}

void EventWriter::Send(const Notice& notice, const std::string& event, Known& known, WallTime now,
                       const std::stop_token& stop) {
  const Status status = Tell(notice, event, known, now, stop);
  const bool hopeless = !status && (status.error().code() == Code::kInvalid ||
                                    status.error().code() == Code::kNotFound);
  known.told = status.ok() || hopeless;
  if (!hopeless) return Note(status, stop);
  // Its namespace is gone, or the server takes no such object: no reason to let others wait.
  CountDropped();
  Say(status.error().message());
}

void EventWriter::Step(const Report& report, const std::stop_token& stop) {
  if (Observes(report)) return;
  Refill();
  std::set<std::string> present;
  int left = rules_.a_step;
  for (const Notice& notice : NoticesOf(report)) {
    const std::string event = EventName(notice);
    if (!present.insert(event).second) continue;
    Known* known = Remembered(notice, event);
    if (known == nullptr) {
      CountDropped();
      continue;
    }
    if (!known->holds) known->told = false;
    known->holds = notice.lasts;
    if (known->told) continue;
    if (left == 0 || stop.stop_requested() || !MayWrite() || !TakeToken()) {
      if (!notice.lasts) CountDropped();
      continue;
    }
    --left;
    Send(notice, event, *known, report.snapshot.at.wall, stop);
  }
  Forget(report, present);
}

// What no longer holds is kept for its count as long as its VM is there.
void EventWriter::Forget(const Report& report, const std::set<std::string>& present) {
  const auto& node = report.snapshot.node;
  for (auto at = known_.begin(); at != known_.end();) {
    const bool here = present.contains(at->first);
    if (!here) at->second.holds = false;
    const bool stays = here || (node && FindById(node->vmis, VmId{at->second.uid}) != nullptr);
    at = stays ? std::next(at) : known_.erase(at);
  }
}

}  // namespace ullage::publishers
