// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "qemu-backend/guest_agent.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

/// What one pretended QEMU answers. Guarded by its hypervisor.
struct FakeVm {
  DomainRef ref;
  std::string live, persistent;  // empty persistent: transient
  bool offered = true, negotiated = true, knows_status = true, lists_offer = true;
  bool deflates = false;
  bool hangs = false;
  std::optional<Error> balloon_error;
  Run run = Run::kRunning;
  BalloonReport balloon;
  int qmp_calls = 0, property_calls = 0;
  int defines = 0;
  std::optional<Error> balloon_set_error;
  std::vector<std::uint64_t> balloon_sets;  // KiB
  std::chrono::milliseconds slowness{0};
  // The agent in the guest.
  bool agent_hangs = false;
  int agent_calls = 0;
  std::optional<Error> agent_error;
  std::string agent_lie;                     // instead of every reply
  std::map<std::string, std::string> files;  // of the guest, those that can be opened
  std::map<int, std::string> handles;
  std::string refuses;  // a path that takes no write
  std::optional<std::string> written;
  int writes = 0;
};

/// A hypervisor made of values: QEMUs hang, vanish and reset on request. Shared by its threads, so
/// that one that hangs can outlive the directory, as with libvirt.
class FakeHypervisor final : public Hypervisor,
                             public std::enable_shared_from_this<FakeHypervisor> {
 public:
  static std::string Xml(const DomainRef& ref, const std::string& balloon) {
    return "<domain id='" + std::to_string(ref.id) + "'><name>" + ref.name + "</name><uuid>" +
           ref.uuid + "</uuid><memory unit='MiB'>512</memory><vcpu>2</vcpu><devices>" + balloon +
           "</devices></domain>";
  }
  static std::string Uuid(int n) {
    return "00000000-0000-4000-8000-00000000000" + std::to_string(n);
  }
  static std::string Balloon(const char* reporting) {
    return std::string("<memballoon model='virtio' freePageReporting='") + reporting +
           "'><alias name='balloon0'/></memballoon>";
  }

  /// An ordinary VM: `vm<n>`, libvirt's number `id`.
  void Add(int n, std::int32_t id, const std::string& balloon = Balloon("on")) {
    FakeVm vm;
    vm.ref = {Uuid(n), "vm" + std::to_string(n), id};
    vm.live = vm.persistent = Xml(vm.ref, balloon);
    vm.balloon.actual = 512 * 1024;
    const std::lock_guard lock(mutex_);
    vms_[vm.ref.uuid] = vm;
  }
  /// Changes anything, under the lock, and lets those who wait look again.
  template <typename F>
  auto With(F&& change) {
    const std::lock_guard lock(mutex_);
    struct Notify {
      std::condition_variable& changed;
      ~Notify() { changed.notify_all(); }
    } notify{changed_};
    return change(*this);
  }
  FakeVm& vm(int n) { return vms_.at(Uuid(n)); }  // inside With
  void Tell(Event::Kind kind, int n) { sink_(Event{kind, Uuid(n)}); }

  Result<std::vector<DomainRef>> List() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !list_hangs; });
    ++lists;
    if (down) return *down;
    std::vector<DomainRef> all;
    for (const auto& [uuid, vm] : vms_) all.push_back(vm.ref);
    return all;
  }
  Result<std::string> LiveXml(const DomainRef& domain) override {
    return Call<std::string>(domain, false,
                             [](FakeVm& vm) -> Result<std::string> { return vm.live; });
  }
  Result<std::unique_ptr<Qemu>> Open(const DomainRef& domain) override;
  void SetEventSink(std::function<void(const Event&)> sink) override { sink_ = std::move(sink); }
  void Close() override {}

  void AwaitAgent(const DomainRef& domain) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      const auto found = vms_.find(domain.uuid);
      return found == vms_.end() || !found->second.agent_hangs;
    });
  }
  void AwaitDefine() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !define_hangs; });
  }

  /// One answer of one QEMU: hangs as that one does.
  template <typename T>
  Result<T> Call(const DomainRef& domain, bool monitor,
                 const std::function<Result<T>(FakeVm&)>& answer) {
    std::unique_lock lock(mutex_);
    const auto find = [&]() -> FakeVm* {
      const auto found = vms_.find(domain.uuid);
      return found == vms_.end() || found->second.ref.id != domain.id ? nullptr : &found->second;
    };
    changed_.wait(lock, [&] { return !monitor || find() == nullptr || !find()->hangs; });
    if (monitor && find() != nullptr && find()->slowness.count() > 0) {
      changed_.wait_for(lock, find()->slowness);
    }
    if (down) return *down;
    FakeVm* vm = find();
    if (vm == nullptr) return Error(Code::kGone, "no such domain");
    return answer(*vm);
  }

  // Guarded by the lock: change inside With.
  std::optional<Error> down;  // the daemon
  bool list_hangs = false;
  bool define_hangs = false;
  std::optional<Error> define_error, open_error;
  int lists = 0;
  int opened = 0;
  std::map<std::string, FakeVm> vms_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void(const Event&)> sink_;
};

class FakeQemu final : public Qemu {
 public:
  FakeQemu(std::shared_ptr<FakeHypervisor> above, DomainRef ref)
      : above_(std::move(above)), ref_(std::move(ref)) {}

  Result<std::string> Xml(Definition which) override {
    return above_->Call<std::string>(ref_, false, [&](FakeVm& vm) -> Result<std::string> {
      if (which == Definition::kLive) return vm.live;
      if (vm.persistent.empty()) return Error(Code::kNotFound, "transient");
      return vm.persistent;
    });
  }
  Result<Run> State() override {
    return above_->Call<Run>(ref_, false, [](FakeVm& vm) -> Result<Run> { return vm.run; });
  }
  Result<BalloonReport> Balloon() override {
    return above_->Call<BalloonReport>(ref_, true, [](FakeVm& vm) -> Result<BalloonReport> {
      if (vm.balloon_error) return *vm.balloon_error;
      return vm.balloon;
    });
  }
  Result<std::string> Qmp(const std::string& command) override {
    return above_->Call<std::string>(ref_, true, [&](FakeVm& vm) -> Result<std::string> {
      ++vm.qmp_calls;
      if (command.find("qom-get") != std::string::npos) {
        ++vm.property_calls;
        return std::string(vm.offered ? R"({"return":true})" : R"({"return":false})");
      }
      if (!vm.knows_status) {
        return std::string(R"({"error":{"class":"CommandNotFound","desc":"not found"}})");
      }
      const auto features = [](const char* whose, bool reporting, bool deflates) {
        return "\"" + std::string(whose) + R"(-features":{"dev-features":[)" +
               (reporting ? R"("VIRTIO_BALLOON_F_REPORTING: x",)" : "") +
               (deflates ? R"("VIRTIO_BALLOON_F_DEFLATE_ON_OOM: x",)" : "") +
               R"("VIRTIO_BALLOON_F_STATS_VQ: x"]})";
      };
      return R"({"return":{"status":{"statuses":["VIRTIO_CONFIG_S_DRIVER_OK: x"]},)" +
             (vm.lists_offer ? features("host", vm.offered, true) + "," : "") +
             features("guest", vm.negotiated, vm.deflates) + "}}";
    });
  }
  Result<std::string> GuestAgent(const std::string& command, seconds) override;
  Status SetBalloon(std::uint64_t kib) override {
    return above_->Call<Done>(ref_, true, [&](FakeVm& vm) -> Status {
      if (vm.balloon_set_error) return *vm.balloon_set_error;
      vm.balloon_sets.push_back(kib);
      vm.balloon.actual = kib;
      return Ok();
    });
  }
  Status Define(const std::string& xml) override {
    above_->AwaitDefine();
    return above_->Call<Done>(ref_, false, [&](FakeVm& vm) -> Status {
      if (above_->define_error) return *above_->define_error;
      ++vm.defines;
      vm.persistent = xml;
      return Ok();
    });
  }

 private:
  const std::shared_ptr<FakeHypervisor> above_;
  const DomainRef ref_;
};

// Like qemu-ga with the guest's files in a map; base64 is the protocol's own, tested elsewhere.
inline Result<std::string> FakeQemu::GuestAgent(const std::string& command, seconds) {
  above_->AwaitAgent(ref_);
  return above_->Call<std::string>(ref_, false, [&](FakeVm& vm) -> Result<std::string> {
    ++vm.agent_calls;
    if (vm.agent_error) return *vm.agent_error;
    if (!vm.agent_lie.empty()) return vm.agent_lie;
    const auto asked = nlohmann::json::parse(command);
    const auto& arguments = asked["arguments"];
    const auto error = [](const std::string& text) -> Result<std::string> {
      return Error(Code::kInternal, "libvirt: " + text);
    };
    if (asked["execute"] == "guest-file-open") {
      const std::string path = arguments["path"];
      if (!vm.files.contains(path)) return error("No such file or directory");
      const int handle = 1000 + static_cast<int>(vm.agent_calls);
      vm.handles[handle] = path;
      return nlohmann::json({{"return", handle}}).dump();
    }
    const auto handle = vm.handles.find(arguments["handle"].get<int>());
    if (handle == vm.handles.end()) return error("no such handle");
    std::string& file = vm.files[handle->second];
    if (asked["execute"] == "guest-file-read") {
      const std::string asks = AskWrite(0, file);
      const auto coded = nlohmann::json::parse(asks)["arguments"]["buf-b64"];
      return nlohmann::json(
                 {{"return", {{"count", file.size()}, {"buf-b64", coded}, {"eof", true}}}})
          .dump();
    }
    if (asked["execute"] == "guest-file-write") {
      const std::string reply =
          nlohmann::json({{"return", {{"buf-b64", arguments["buf-b64"]}}}}).dump();
      vm.written = ParseContent(reply).value();
      return std::string(R"({"return":{"count":1,"eof":false}})");
    }
    const std::string path = handle->second;
    vm.handles.erase(handle);
    if (vm.written && path == vm.refuses) {
      vm.written.reset();
      return error("failed to close handle: Invalid argument");
    }
    if (vm.written) {
      vm.files[path] = *vm.written + "\n";
      vm.written.reset();
      ++vm.writes;
    }
    return std::string(R"({"return":{}})");
  });
}

inline Result<std::unique_ptr<Qemu>> FakeHypervisor::Open(const DomainRef& domain) {
  const auto there = Call<Done>(domain, false, [this](FakeVm&) -> Status {
    if (open_error) return *open_error;
    ++opened;
    return Ok();
  });
  if (!there) return there.error();
  return std::unique_ptr<Qemu>(std::make_unique<FakeQemu>(shared_from_this(), domain));
}

}  // namespace ullage::qemu
