// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/launchers.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "node-agent/host/text.h"

namespace ullage::qemu {
namespace {

constexpr seconds kLetGo{120};
// Memory and vCPUs are plugged while a VM runs, and the API tells of it later. What libvirt says
// beyond this many times the API's figure is no such thing.
constexpr std::int64_t kMostPlugged = 16;
constexpr std::int64_t kManyVcpus = 512;  // believed in any case

// Whom a hypervisor's events go to: a worker that is made after it.
struct Listener {
  std::mutex mutex;
  std::weak_ptr<Worker> worker;

  void OnEvent(const Event& event) {
    std::shared_ptr<Worker> told;
    {
      const std::lock_guard lock(mutex);
      told = worker.lock();
    }
    if (told) told->OnEvent(event.kind);  // there is but one domain
  }
};

struct Vm {
  LauncherTarget target;
  std::string fault;                  // of what SetPods was told
  std::optional<BootTime> let_go_at;  // by LetGo
  std::shared_ptr<PodHypervisor> pod;
  std::shared_ptr<Common> common;
  std::shared_ptr<Worker> worker;

  bool Leaves(BootTime now) const {
    return target.leaving || (let_go_at && now - *let_go_at < kLetGo);
  }
};

GuestRule RuleFor(GuestRule rule, const VmSpec& spec) {
  return MayAsk(rule, spec.guest_access) ? GuestRule::kAllow : GuestRule::kNever;
}

// `read`, if it is no less than what the API says and no nonsense.
template <typename T>
T Believed(T told, T read, T most, const char* what, std::string& fault) {
  if (read <= told) return told;
  if (read <= most) return read;
  fault += (fault.empty() ? "" : "; ") + std::string("its libvirt says another ") + what +
           " than the VMI has: not believed";
  return told;
}

// The API's word of the VM, raised by libvirt's.
VmSpec Merge(const VmSpec& told, const VmSpec& read, std::string& fault) {
  VmSpec spec = told;
  if (read.guest_memory == Bytes::Max()) {  // not read yet, or as much as nobody has
    if (spec.guest_memory <= Bytes()) spec.guest_memory = Bytes::Max();
    return spec;
  }
  if (spec.guest_memory <= Bytes()) {
    spec.guest_memory = read.guest_memory;
  } else {
    spec.guest_memory =
        Believed(spec.guest_memory, read.guest_memory,
                 spec.guest_memory * Permyriad{kMostPlugged * 10000}, "amount of memory", fault);
  }
  const auto most = std::max(std::int64_t{spec.vcpus} * kMostPlugged, kManyVcpus);
  spec.vcpus = static_cast<std::uint32_t>(
      Believed<std::int64_t>(spec.vcpus, read.vcpus, most, "number of vCPUs", fault));
  return spec;
}

// What only a QEMU that is known to be this VM's can say.
void Forget(QemuFacts& facts) {
  facts.run = Run::kUnknown;
  facts.pid.reset();
  facts.hinting.offered.reset();
  facts.hinting.negotiated.reset();
  facts.autodeflate.reset();
  facts.guest = {};
  facts.agent = GuestAgent::kUnknown;
  facts.agent_fault.clear();
  facts.module.reset();
}

QemuFacts View(const Vm& vm, BootTime now) {
  QemuFacts facts = vm.worker->Latest(now);
  PodHypervisor::Found found = vm.pod->Latest();
  facts.spec = Merge(vm.target.spec, facts.spec, facts.fault);
  facts.memory_cgroup = std::move(found.memory_cgroup);
  if (!found.now) Forget(facts);
  // The same VMI makes the same domain again.
  if (facts.hinting.offered == false) facts.hinting.at_next_start = false;
  if (!vm.fault.empty()) facts.fault += (facts.fault.empty() ? "" : "; ") + vm.fault;
  return facts;
}

void Add(DirectoryCounters& sum, const DirectoryCounters& more) {
  for (const auto part : {&DirectoryCounters::questions, &DirectoryCounters::failures,
                          &DirectoryCounters::late, &DirectoryCounters::connections,
                          &DirectoryCounters::resets, &DirectoryCounters::implausible,
                          &DirectoryCounters::guest_questions, &DirectoryCounters::guest_failures,
                          &DirectoryCounters::guest_late, &DirectoryCounters::guest_refused}) {
    sum.*part += more.*part;
  }
}

std::string WhatToChange(const Vm& vm, bool balloon) {
  std::string text = "nothing is changed inside a launcher pod";
  if (!vm.target.hints_off.empty()) {
    text += "; KubeVirt offers this VM no free page reporting: " + vm.target.hints_off;
  }
  if (!balloon) {
    return text +
           "; let the VM have its balloon (spec.domain.devices.autoattachMemBalloon) and start it "
           "anew";
  }
  return text +
         "; see virtualMachineOptions.disableFreePageReporting of the KubeVirt CR, the VM's "
         "annotation kubevirt.io/free-page-reporting-disabled, or give it Ullage's domain hook, "
         "and start it anew";
}

// Every field by its name: one that is added does not compile until it is here.
auto Fields(const VmSpec& spec) {
  const auto& [id, name, memory, vcpus, placement, reclaim, access, least, shares, bad] = spec;
  return std::tie(id, name, memory, vcpus, placement, reclaim, access, least, shares, bad);
}

bool Same(const LauncherTarget& a, const LauncherTarget& b) {
  return a.pod.uid == b.pod.uid && a.pod.vm_namespace == b.pod.vm_namespace &&
         a.pod.vm_name == b.pod.vm_name && Fields(a.spec) == Fields(b.spec) &&
         a.hints_off == b.hints_off && a.leaving == b.leaving;
}

}  // namespace

// Guarded by `mutex`, where not said otherwise. It is held while a worker's is taken, never the
// other way round.
struct LauncherDirectory::State {
  State(const LibvirtOptions& with, LauncherWays through, const host::Clock& time)
      : options(with), ways(std::move(through)), clock(time) {}

  Vm Begin(const LauncherTarget& target);
  void Update(Vm& vm, LauncherTarget&& target);
  void Retire(Vm&& vm);
  void Replace(const std::vector<LauncherTarget>& targets);
  void Settle();
  const Vm* Find(const VmId& vm) const;

  const LibvirtOptions options;
  const LauncherWays ways;
  const host::Clock& clock;

  mutable std::mutex mutex;
  std::map<VmId, Vm> vms;
  std::vector<LauncherTarget> told;  // by the last SetPods
  std::vector<Vm> retired;           // their pods ended; not all of them have yet
  DirectoryCounters past;            // of those that have
  std::optional<BootTime> listed_at;
  std::uint64_t begun = 0;
};

Vm LauncherDirectory::State::Begin(const LauncherTarget& target) {
  Vm vm;
  vm.target = target;
  // Half of a deadline, so that a launcher that takes no connection is said to be just that.
  vm.pod = std::make_shared<PodHypervisor>(ways, target.pod, options.deadline / 2);
  vm.common = std::make_shared<Common>(options, vm.pod, clock);
  vm.common->guest_rule = RuleFor(options.guest_rule, target.spec);
  vm.common->process = [pod = vm.pod.get()] { return pod->Process(); };
  vm.common->epochs = ++begun << 32U;  // never one that an earlier pod of this VMI had
  const auto listener = std::make_shared<Listener>();
  vm.pod->SetEventSink([listener](const Event& event) { listener->OnEvent(event); });
  const DomainRef domain{target.spec.id.value, target.pod.vm_namespace + "_" + target.pod.vm_name,
                         0};
  const std::lock_guard lock(listener->mutex);
  vm.worker = Worker::Start(vm.common, domain, Error(Code::kUnavailable, "not looked at yet"));
  listener->worker = vm.worker;
  return vm;
}

void LauncherDirectory::State::Update(Vm& vm, LauncherTarget&& target) {
  const GuestRule rule = RuleFor(options.guest_rule, target.spec);
  if (vm.common->guest_rule.exchange(rule) != rule) vm.worker->OnEvent(Event::Kind::kChanged);
  vm.target = std::move(target);
}

void LauncherDirectory::State::Retire(Vm&& vm) {
  vm.worker->Stop();
  retired.push_back(std::move(vm));
}

const Vm* LauncherDirectory::State::Find(const VmId& vm) const {
  const auto known = vms.find(vm);
  return known == vms.end() ? nullptr : &known->second;
}

LibvirtOptions LauncherDefaults() {
  LibvirtOptions options;
  options.refresh = seconds(20);
  options.proof_period = seconds(120);
  options.state_by_event = true;
  options.retry_cap = seconds(30);
  options.least_rest = seconds(1);
  return options;
}

LauncherDirectory::LauncherDirectory(const LibvirtOptions& options, LauncherWays ways,
                                     const host::Clock& clock)
    : state_(std::make_unique<State>(options, std::move(ways), clock)) {}

LauncherDirectory::~LauncherDirectory() {
  const auto until = std::chrono::steady_clock::now() + state_->options.deadline;
  const auto left = [&] {
    const auto rest = until - std::chrono::steady_clock::now();
    return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(rest));
  };
  std::vector<std::shared_ptr<Worker>> all;
  for (const Vm& vm : state_->retired) all.push_back(vm.worker);
  for (const auto& [id, vm] : state_->vms) all.push_back(vm.worker);
  for (const auto& worker : all) worker->Stop();
  for (const auto& worker : all) worker->AwaitExit(left());
  for (const auto& worker : all) worker->AwaitGuestExit(left());
}

void LauncherDirectory::SetPods(std::vector<LauncherTarget> targets) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (!std::equal(targets.begin(), targets.end(), state.told.begin(), state.told.end(), Same)) {
    state.told = std::move(targets);
    state.Replace(state.told);
  }
  state.Settle();
}

void LauncherDirectory::KeepPods() {
  const std::lock_guard lock(state_->mutex);
  state_->Settle();
}

void LauncherDirectory::State::Settle() {
  const bool any_dead =
      std::any_of(vms.begin(), vms.end(), [](const auto& vm) { return vm.second.worker->Dead(); });
  if (any_dead) Replace(told);  // there was no thread for it
  std::erase_if(retired, [&](const Vm& vm) {
    if (!vm.worker->Dead()) return false;
    Add(past, Count(*vm.common));
    return true;
  });
  listed_at = clock.Now().boot;
}

void LauncherDirectory::State::Replace(const std::vector<LauncherTarget>& targets) {
  std::map<VmId, LauncherTarget> wanted;
  std::map<VmId, std::string> faults;
  for (const LauncherTarget& target : targets) {
    const VmId id = target.spec.id;
    const Vm* known = Find(id);
    const bool stays = known != nullptr && known->target.pod.uid == target.pod.uid;
    const auto [at, first] = wanted.try_emplace(id, target);
    if (first) continue;
    if (stays) at->second = target;
    faults[id] = "it has two launcher pods here: only " + at->second.pod.uid + " is looked at";
  }
  std::map<VmId, Vm> next;
  for (auto& [id, target] : wanted) {
    auto known = vms.extract(id);
    const bool stays = !known.empty() && known.mapped().target.pod.uid == target.pod.uid &&
                       !known.mapped().worker->Dead();
    if (!known.empty() && !stays) Retire(std::move(known.mapped()));
    Vm vm = stays ? std::move(known.mapped()) : Begin(target);
    Update(vm, std::move(target));
    vm.fault = faults[id];
    next.emplace(id, std::move(vm));
  }
  for (auto& [id, vm] : vms) Retire(std::move(vm));
  vms = std::move(next);
}

void LauncherDirectory::Poke(const VmId& vm) {
  const std::lock_guard lock(state_->mutex);
  const auto known = state_->vms.find(vm);
  if (known == state_->vms.end()) return;
  known->second.let_go_at.reset();
  known->second.worker->OnEvent(Event::Kind::kChanged);
}

void LauncherDirectory::LetGo(const VmId& vm) {
  const std::lock_guard lock(state_->mutex);
  const auto known = state_->vms.find(vm);
  if (known != state_->vms.end()) known->second.let_go_at = state_->clock.Now().boot;
}

sources::QemuListing LauncherDirectory::Latest() const {
  const BootTime now = state_->clock.Now().boot;
  sources::QemuListing listing;
  const std::lock_guard lock(state_->mutex);
  listing.listed_at = state_->listed_at;
  listing.vms.reserve(state_->vms.size());
  if (!listing.listed_at) listing.fault = "nobody said yet which launcher pods there are";
  for (const auto& [id, vm] : state_->vms) listing.vms.push_back(View(vm, now));
  return listing;
}

Status LauncherDirectory::SwitchOn(const VmId& vm) {
  const BootTime now = state_->clock.Now().boot;
  const std::lock_guard lock(state_->mutex);
  const Vm* known = state_->Find(vm);
  if (known == nullptr) return Error(Code::kNotFound, "no VM " + host::Printable(vm.value, 64));
  const QemuFacts facts = View(*known, now);
  return Error(Code::kDenied, WhatToChange(*known, facts.hinting.balloon.value_or(true)));
}

Status LauncherDirectory::Write(const VmId& vm, const std::string& parameter,
                                const std::string& value) {
  const BootTime now = state_->clock.Now().boot;
  const std::lock_guard lock(state_->mutex);
  const Vm* known = state_->Find(vm);
  if (known == nullptr) return Error(Code::kNotFound, "no VM " + host::Printable(vm.value, 64));
  if (known->Leaves(now)) return Error(Code::kUnavailable, "it is leaving this node");
  if (!known->pod->Latest().now) return Error(Code::kUnavailable, "its QEMU is not found");
  if (known->common->guest_rule == GuestRule::kNever) {
    return Error(Code::kUnavailable, "its guest agent may not be used");
  }
  return known->worker->QueueWrite(parameter, value, now);
}

Status LauncherDirectory::SetBalloon(const VmId& vm, Bytes left) {
  const BootTime now = state_->clock.Now().boot;
  const std::lock_guard lock(state_->mutex);
  const Vm* known = state_->Find(vm);
  if (known == nullptr) return Error(Code::kNotFound, "no VM " + host::Printable(vm.value, 64));
  if (known->Leaves(now)) return Error(Code::kUnavailable, "it is leaving this node");
  if (!known->pod->Latest().now) return Error(Code::kUnavailable, "its QEMU is not found");
  return known->worker->QueueBalloon(left, now);
}

DirectoryCounters LauncherDirectory::Counters() const {
  const std::lock_guard lock(state_->mutex);
  DirectoryCounters sum = state_->past;
  for (const Vm& vm : state_->retired) Add(sum, Count(*vm.common));
  for (const auto& [id, vm] : state_->vms) Add(sum, Count(*vm.common));
  return sum;
}

}  // namespace ullage::qemu
