// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/cluster_objects.h"

#include <algorithm>

#include "node-agent/host/text.h"
#include "node-agent/kube/migratable.h"
#include "node-agent/kube/quantity.h"
#include "node-agent/sources/vm_annotations.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kMaxUid = 64;  // a UUID today
constexpr std::size_t kMaxFault = 512;
constexpr std::size_t kMaxReason = 128;
constexpr std::size_t kMaxTime = 32;

using Quantities = google::protobuf::Map<std::string, google::protobuf::Value>;
using Vmi = k8s::VirtualMachineInstance;

bool IsUid(const std::string& text) {
  return !text.empty() && text.size() <= kMaxUid &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-';
         });
}

void Add(std::string& fault, const std::string& what) {
  if (fault.size() > kMaxFault) return;
  fault += (fault.empty() ? "" : "; ") + what;
}

// One resource of one pod.
class Request {
 public:
  Request(const char* resource, Bytes unreadable, std::string& fault)
      : resource_(resource), unreadable_(unreadable), fault_(fault) {}

  Bytes Of(const k8s::PodSpec& spec) {
    Bytes sidecars;
    Bytes most;
    for (const k8s::Container& init : spec.init_containers()) {
      const Bytes one = Of(init.resources().requests());
      most = std::max(most, sidecars + one);
      if (init.restart_policy() == "Always") sidecars += one;
    }
    Bytes running = sidecars;
    for (const k8s::Container& container : spec.containers()) {
      running += Of(container.resources().requests());
    }
    most = std::max({most, running, Of(spec.resources().requests())});
    return most + Of(spec.overhead());
  }

 private:
  Bytes Of(const Quantities& requests) {
    const auto at = requests.find(resource_);
    if (at == requests.end()) return Bytes();
    const auto bytes = kube::ParseBytes(at->second);
    if (bytes) return *bytes;
    if (bytes.error().code() == Code::kNotFound) return Bytes();
    Add(fault_, std::string("a request of ") + resource_ + ": " + bytes.error().message());
    return unreadable_;
  }

  const char* resource_;
  const Bytes unreadable_;
  std::string& fault_;
};

std::optional<VmId> VmiOfPod(const k8s::ObjectMeta& meta, std::string& fault) {
  const auto kind = meta.labels().find("kubevirt.io");
  if (kind == meta.labels().end() || kind->second != "virt-launcher") return std::nullopt;
  const auto by = meta.labels().find("kubevirt.io/created-by");
  if (by == meta.labels().end()) return std::nullopt;
  if (IsUid(by->second)) return VmId{by->second};
  Add(fault,
      "kubevirt.io/created-by is '" + host::Printable(by->second, 64) + "', which is no UID");
  return std::nullopt;
}

// An owner's name stands in an Event's own: what is no object's name must not get there. The API
// server checks only that there is one.
bool IsObjectName(const std::string& text) {
  constexpr std::size_t kMostName = 253;
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && text.size() <= kMostName && alnum(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return alnum(c) || c == '-' || c == '.'; });
}

void TakeOwner(const k8s::ObjectMeta& meta, RejectedPod& pod) {
  for (const k8s::OwnerReference& owner : meta.owner_references()) {
    if (owner.kind() != "VirtualMachineInstance" ||
        !owner.api_version().starts_with("kubevirt.io/") || !IsObjectName(owner.name()) ||
        !IsUid(owner.uid())) {
      continue;
    }
    pod.vmi = owner.name();
    pod.vmi_uid = owner.uid();
    return;
  }
}

// What of a VMI keeps its memory from being taken or its guest from being watched.
std::string Exempt(const k8s::VmiDomain& domain, const VmSpec& spec) {
  const k8s::VmiDevices& devices = domain.devices();
  const bool sriov =
      std::any_of(devices.interfaces().begin(), devices.interfaces().end(),
                  [](const k8s::VmiInterface& interface) { return interface.has_sriov(); });
  std::string why;
  const auto when = [&](bool is_so, const char* what) {
    if (is_so) why += (why.empty() ? "" : ", ") + std::string(what);
  };
  when(domain.cpu().dedicated_cpu_placement(), "dedicated CPUs");
  when(domain.cpu().has_realtime(), "realtime CPUs");
  when(domain.memory().has_hugepages(), "huge pages");
  when(devices.host_devices_size() > 0, "host devices");
  when(devices.gpus_size() > 0, "GPUs");
  when(sriov, "an SR-IOV interface");
  when(domain.has_launch_security(), "confidential memory (launchSecurity)");
  when(domain.memory().has_reserved_overhead(), "locked memory (reservedOverhead)");
  when(spec.reclaim == Reclaim::kOff, "its owner set ullage.io/reclaim: off");
  return why;
}

std::string HintsOff(const Vmi& vmi) {
  const k8s::VmiDevices& devices = vmi.spec().domain().devices();
  if (devices.has_autoattach_mem_balloon() && !devices.autoattach_mem_balloon()) {
    return "autoattachMemBalloon is false: it has no balloon";
  }
  const auto& annotations = vmi.metadata().annotations();
  const auto off = annotations.find("kubevirt.io/free-page-reporting-disabled");
  if (off != annotations.end() && off->second == "true") {
    return "its annotation kubevirt.io/free-page-reporting-disabled is true";
  }
  return "";
}

// KubeVirt takes the first of these that is set; memory that was plugged in comes on top.
Bytes GuestMemory(const Vmi& vmi, std::string& fault) {
  const k8s::VmiDomain& domain = vmi.spec().domain();
  const auto in = [](const Quantities& from) {
    const auto at = from.find("memory");
    return at == from.end() ? google::protobuf::Value() : at->second;
  };
  Bytes guest;
  for (const auto& value : {domain.memory().guest(), in(domain.resources().requests()),
                            in(domain.resources().limits())}) {
    const auto bytes = kube::ParseBytes(value);
    if (!bytes && bytes.error().code() == Code::kNotFound) continue;
    if (!bytes) {
      Add(fault, "its memory: " + bytes.error().message());
      return Bytes::Max();
    }
    guest = *bytes;
    break;
  }
  const k8s::VmiMemoryStatus& now = vmi.status().memory();
  for (const auto& value : {now.guest_at_boot(), now.guest_current()}) {
    if (const auto bytes = kube::ParseBytes(value); bytes.ok()) guest = std::max(guest, *bytes);
  }
  if (guest > Bytes()) return guest;
  Add(fault, "it says nowhere how much memory its guest has");
  return Bytes::Max();
}

std::uint32_t Vcpus(const k8s::VmiCpu& cpu) {
  constexpr std::uint64_t kMost = 65535;
  std::uint64_t count = 1;
  for (const std::uint32_t factor : {cpu.sockets(), cpu.cores(), cpu.threads()}) {
    count = std::min(kMost, count * std::clamp<std::uint64_t>(factor, 1, kMost));
  }
  return static_cast<std::uint32_t>(count);
}

bool Leaves(const k8s::VmiMigrationState& migration, const std::string& node) {
  return migration.source_node() == node && migration.target_node() != node &&
         !migration.completed() && !migration.failed() && migration.end_timestamp().empty();
}

// KubeVirt's eviction webhook refuses what is to migrate and cannot, so that its pod stays, too
// (pod-eviction-admitter). A strategy of the whole cluster is not in the VMI: that shows when it is
// asked.
void TakeMigratable(const Vmi& vmi, VmiSample& sample) {
  sample.stays = kube::WhyItStays(vmi).value_or("");
  sample.keeps_pod = !sample.stays.empty() && vmi.spec().eviction_strategy() == "LiveMigrate";
  for (const k8s::Condition& condition : vmi.status().conditions()) {
    const std::string& status = condition.status();
    const bool known = status == "True" || status == "False" || status == "Unknown";
    if (known || condition.type() != "LiveMigratable") continue;
    Add(sample.fault, "its condition LiveMigratable is '" + host::Printable(status, 64) + "'");
  }
}

}  // namespace

std::optional<PodSample> PodOf(const kube::Item<k8s::Pod>& item) {
  const k8s::Pod& pod = item.object;
  const std::string& phase = pod.status().phase();
  if (phase == "Succeeded" || phase == "Failed") return std::nullopt;
  PodSample sample;
  sample.uid = host::Printable(pod.metadata().uid(), kMaxUid);
  sample.name_space = host::Printable(pod.metadata().namespace_());
  sample.name = host::Printable(pod.metadata().name());
  if (!item.fault.empty()) {
    sample.memory = Bytes::Max();
    sample.fault = host::Printable(item.fault, kMaxFault);
    return sample;
  }
  sample.vmi = VmiOfPod(pod.metadata(), sample.fault);
  sample.memory = Request("memory", Bytes::Max(), sample.fault).Of(pod.spec());
  sample.reclaimable = Request(kReclaimableResource, Bytes(), sample.fault).Of(pod.spec());
  return sample;
}

std::optional<RejectedPod> RejectedOf(const kube::Item<k8s::Pod>& item) {
  const k8s::PodStatus& status = item.object.status();
  if (!item.fault.empty() || status.phase() != "Failed" || !status.reason().starts_with("OutOf")) {
    return std::nullopt;
  }
  std::string fault;
  const Bytes asked = Request(kReclaimableResource, Bytes(), fault).Of(item.object.spec());
  if (asked <= Bytes()) return std::nullopt;
  const k8s::ObjectMeta& meta = item.object.metadata();
  RejectedPod pod;
  pod.uid = host::Printable(meta.uid(), kMaxUid);
  pod.name_space = host::Printable(meta.namespace_());
  pod.name = host::Printable(meta.name());
  pod.reason = host::Printable(status.reason(), kMaxReason);
  pod.message = host::Printable(status.message(), kMaxFault);
  pod.created = host::Printable(meta.creation_timestamp(), kMaxTime);
  TakeOwner(meta, pod);
  return pod;
}

std::optional<NodeVmi> VmiOf(const kube::Item<Vmi>& item, const std::string& node) {
  const Vmi& vmi = item.object;
  const std::string& phase = vmi.status().phase();
  if (phase == "Succeeded" || phase == "Failed") return std::nullopt;
  NodeVmi out;
  VmiSample& sample = out.sample;
  sample.name_space = host::Printable(vmi.metadata().namespace_());
  sample.name = host::Printable(vmi.metadata().name());
  sample.spec.id.value = host::Printable(vmi.metadata().uid(), kMaxUid);
  sample.spec.name = sample.name_space + '/' + sample.name;
  if (!item.fault.empty()) {
    sample.spec.guest_memory = Bytes::Max();
    sample.fault = host::Printable(item.fault, kMaxFault);
    return out;
  }
  const k8s::VmiDomain& domain = vmi.spec().domain();
  sample.spec.guest_memory = GuestMemory(vmi, sample.fault);
  sample.spec.vcpus = Vcpus(domain.cpu());
  TakeAnnotations(vmi.metadata().annotations(), sample.spec);
  sample.exempt = Exempt(domain, sample.spec);
  sample.hints_off = HintsOff(vmi);
  sample.leaving = Leaves(vmi.status().migration_state(), node);
  TakeMigratable(vmi, sample);
  for (const auto& [pod, where] : vmi.status().active_pods()) {
    if (where == node && IsUid(pod)) out.pods.push_back(pod);
  }
  std::sort(out.pods.begin(), out.pods.end());
  return out;
}

NodeFacts NodeOf(const kube::Item<k8s::Node>& item) {
  NodeFacts facts;
  facts.uid = host::Printable(item.object.metadata().uid(), kMaxUid);
  facts.fault = host::Printable(item.fault, kMaxFault);
  for (const auto& [key, value] : item.object.metadata().labels()) facts.labels[key] = value;
  const auto read = [&](const Quantities& from, const char* resource) -> std::optional<Bytes> {
    const auto at = from.find(resource);
    if (at == from.end()) return std::nullopt;
    const auto bytes = kube::ParseBytes(at->second);
    if (bytes) return *bytes;
    Add(facts.fault, std::string(resource) + ": " + bytes.error().message());
    return std::nullopt;
  };
  facts.allocatable = read(item.object.status().allocatable(), "memory");
  facts.published = read(item.object.status().capacity(), kReclaimableResource);
  return facts;
}

}  // namespace ullage::sources
