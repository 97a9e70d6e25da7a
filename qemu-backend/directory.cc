// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/directory.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "node-agent/host/text.h"
#include "qemu-backend/libvirt_qemu.h"
#include "qemu-backend/thread.h"

namespace ullage::qemu {
namespace {

// Between two lists, however many events come.
constexpr milliseconds kLeastRest{100};

}  // namespace

// Guarded by `mutex`, where not said otherwise. Never taken while a worker's mutex is held.
struct LibvirtDirectory::State {
  using Workers = std::map<std::string, std::shared_ptr<Worker>>;

  State(const LibvirtOptions& options, std::shared_ptr<Hypervisor> hypervisor,
        const host::Clock& clock)
      : common(std::make_shared<Common>(options, std::move(hypervisor), clock)) {}

  void Run();
  bool Round();
  Result<DomainFacts> Describe(const DomainRef& domain);
  void Replace(Workers next, const std::vector<std::pair<DomainRef, Result<DomainFacts>>>& fresh,
               BootTime begun);
  void OnEvent(const Event& event);
  void Fail(const Error& error);
  Result<std::shared_ptr<Worker>> Find(const VmId& vm) const;

  const std::shared_ptr<Common> common;

  mutable std::mutex mutex;
  Workers workers;
  std::vector<std::shared_ptr<Worker>> retired;  // their domains ended; not all of them have yet
  std::optional<BootTime> listed_at;
  std::string fault = "not listed yet";
  bool missed_events = false;
};

void LibvirtDirectory::State::Run() {
  Backoff backoff(common->options.retry, common->options.retry_cap, 1);
  milliseconds rest{0}, least{0};
  while (common->lister.Sleep(least, rest)) {
    const bool good = Round();
    if (good) backoff.Reset();
    rest = good ? common->options.list_period : backoff.Next();
    // Workers that lose a connection wake this thread; after a failure of its own it knows.
    least = good ? std::min(rest, kLeastRest) : rest;
  }
  common->hypervisor->Close();
  common->lister.Finish();
}

// One list. Only this thread changes `workers`.
bool LibvirtDirectory::State::Round() {
  const BootTime begun = common->lister.now().boot;
  const auto asked =
      common->lister.Ask("listing the domains", [this] { return common->hypervisor->List(); });
  if (!asked) return false;
  if (!*asked) {
    Fail(asked->error());
    return false;
  }
  std::vector<std::pair<DomainRef, Result<DomainFacts>>> fresh;
  Workers next;
  for (const DomainRef& domain : asked->value()) {
    const auto known = workers.find(domain.uuid);
    if (known != workers.end() && known->second->domain().id == domain.id &&
        !known->second->Dead()) {
      next.emplace(*known);
      continue;
    }
    auto facts = Describe(domain);
    if (!facts && facts.error().code() == Code::kGone) continue;
    if (!facts && facts.error().code() == Code::kUnavailable) {
      Fail(facts.error());
      return false;
    }
    fresh.emplace_back(domain, std::move(facts));
  }
  Replace(std::move(next), fresh, begun);
  return true;
}

// Asks nothing, so that the destructor finds each worker that was ever started.
void LibvirtDirectory::State::Replace(
    Workers next, const std::vector<std::pair<DomainRef, Result<DomainFacts>>>& fresh,
    BootTime begun) {
  const std::lock_guard lock(mutex);
  for (const auto& [domain, facts] : fresh) {
    next.emplace(domain.uuid, Worker::Start(common, domain, facts));
  }
  std::erase_if(retired, [](const auto& worker) { return worker->Dead(); });
  for (const auto& [uuid, worker] : workers) {
    const auto kept = next.find(uuid);
    if (kept != next.end() && kept->second == worker) continue;
    worker->Stop();
    retired.push_back(worker);
  }
  workers = std::move(next);
  listed_at = begun;
  fault.clear();
  if (std::exchange(missed_events, false)) {
    for (const auto& [uuid, worker] : workers) worker->OnEvent(Event::Kind::kChanged);
  }
}

// What a new domain was promised has to be known before it is shown.
Result<DomainFacts> LibvirtDirectory::State::Describe(const DomainRef& domain) {
  auto asked = common->lister.Ask("reading a definition",
                                  [&] { return common->hypervisor->LiveXml(domain); });
  if (!asked) return Error(Code::kUnavailable, "stopping");
  if (!*asked) return asked->error();
  return ParseDomainXml(**asked);
}

void LibvirtDirectory::State::Fail(const Error& error) {
  const std::lock_guard lock(mutex);
  fault = error.message();
}

Result<std::shared_ptr<Worker>> LibvirtDirectory::State::Find(const VmId& vm) const {
  const std::lock_guard lock(mutex);
  const auto known = workers.find(vm.value);
  if (known != workers.end()) return known->second;
  return Error(Code::kNotFound, "no VM " + host::Printable(vm.value, 64));
}

void LibvirtDirectory::State::OnEvent(const Event& event) {
  {
    const std::lock_guard lock(mutex);
    if (event.kind == Event::Kind::kLost) missed_events = true;
    const auto known = workers.find(event.uuid);
    if (known != workers.end()) known->second->OnEvent(event.kind);
  }
  if (event.kind != Event::Kind::kReset) common->lister.Wake();
}

std::unique_ptr<LibvirtDirectory> LibvirtDirectory::Start(const LibvirtOptions& options,
                                                          const host::Clock& clock) {
  return Start(options, ConnectLibvirt(options.uri), clock);
}

std::unique_ptr<LibvirtDirectory> LibvirtDirectory::Start(const LibvirtOptions& options,
                                                          std::shared_ptr<Hypervisor> hypervisor,
                                                          const host::Clock& clock) {
  auto state = std::make_shared<State>(options, std::move(hypervisor), clock);
  state->common->hypervisor->SetEventSink([weak = std::weak_ptr<State>(state)](const Event& event) {
    if (const auto alive = weak.lock()) alive->OnEvent(event);
  });
  const Status started = Launch("qemu-lister", [state] { state->Run(); });
  if (!started) {
    state->common->lister.Stop();
    state->common->lister.Finish();
    state->Fail(started.error());
  }
  return std::unique_ptr<LibvirtDirectory>(new LibvirtDirectory(std::move(state)));
}

LibvirtDirectory::LibvirtDirectory(std::shared_ptr<State> state) : state_(std::move(state)) {}

LibvirtDirectory::~LibvirtDirectory() {
  const Common& common = *state_->common;
  const auto until = std::chrono::steady_clock::now() + common.options.deadline;
  const auto left = [&] {
    const auto rest = until - std::chrono::steady_clock::now();
    return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(rest));
  };
  // The lister first: it is the one that starts workers.
  state_->common->lister.Stop();
  state_->common->lister.AwaitExit(left());
  std::vector<std::shared_ptr<Worker>> all;
  {
    const std::lock_guard lock(state_->mutex);
    all = std::move(state_->retired);
    for (const auto& [uuid, worker] : state_->workers) all.push_back(worker);
  }
  for (const auto& worker : all) worker->Stop();
  for (const auto& worker : all) worker->AwaitExit(left());
  for (const auto& worker : all) worker->AwaitGuestExit(left());
}

sources::QemuListing LibvirtDirectory::Latest() const {
  const BootTime now = state_->common->clock.Now().boot;
  std::vector<std::shared_ptr<Worker>> workers;
  sources::QemuListing listing;
  {
    const std::lock_guard lock(state_->mutex);
    listing.listed_at = state_->listed_at;
    listing.fault = state_->fault;
    for (const auto& [uuid, worker] : state_->workers) workers.push_back(worker);
  }
  {
    const std::lock_guard lock(state_->common->lister.mutex());
    if (const auto overdue = state_->common->lister.OverdueLocked(now)) {
      listing.fault = std::string("no answer in time: ") + overdue->question;
    }
  }
  listing.vms.reserve(workers.size());
  for (const auto& worker : workers) listing.vms.push_back(worker->Latest(now));
  return listing;
}

Status LibvirtDirectory::SwitchOn(const VmId& vm) {
  const auto worker = state_->Find(vm);
  if (!worker) return worker.error();
  return (*worker)->QueueSwitch(state_->common->clock.Now().boot);
}

Status LibvirtDirectory::Write(const VmId& vm, const std::string& parameter,
                               const std::string& value) {
  const auto worker = state_->Find(vm);
  if (!worker) return worker.error();
  return (*worker)->QueueWrite(parameter, value, state_->common->clock.Now().boot);
}

Status LibvirtDirectory::SetBalloon(const VmId& vm, Bytes left) {
  const auto worker = state_->Find(vm);
  if (!worker) return worker.error();
  return (*worker)->QueueBalloon(left, state_->common->clock.Now().boot);
}

DirectoryCounters LibvirtDirectory::Counters() const { return Count(*state_->common); }

}  // namespace ullage::qemu
