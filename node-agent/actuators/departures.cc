// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/departures.h"

#include "node-agent/host/text.h"
#include "node-agent/kube/discovery.h"
#include "node-agent/kube/migratable.h"

namespace ullage::actuators {
namespace {

constexpr std::size_t kMostWords = 512;

bool UnderWay(const k8s::VmiMigrationState& state) {
  return !state.migration_uid().empty() && !state.completed() && !state.failed() &&
         state.end_timestamp().empty();
}

// No node has been chosen for it yet.
bool LooksForRoom(const std::string& phase) {
  return phase.empty() || phase == "Pending" || phase == "Scheduling";
}

k8s::VirtualMachineInstanceMigration ObjectOf(const Departure& who, const std::string& node) {
  k8s::VirtualMachineInstanceMigration object;
  object.set_api_version("kubevirt.io/v1");
  object.set_kind("VirtualMachineInstanceMigration");
  k8s::ObjectMeta& meta = *object.mutable_metadata();
  meta.set_generate_name("ullage-");
  meta.set_namespace_(who.name_space);
  (*meta.mutable_labels())["app.kubernetes.io/managed-by"] = "ullage-agent";
  (*meta.mutable_annotations())["ullage.io/node"] = node;
  (*meta.mutable_annotations())["ullage.io/reason"] = who.why;
  object.mutable_spec()->set_vmi_name(who.name);
  return object;
}

// At the next look: the server is away, or has a bad moment.
bool MayBeOtherwise(const Error& error) {
  return error.code() == Code::kUnavailable || error.code() == Code::kDeadline ||
         error.code() == Code::kInternal;
}

kube::ObjectRef RefOf(const Migration& migration) {
  return {kube::kMigrations, migration.who.name_space, migration.name};
}

}  // namespace

Result<Departures::Vmi> Departures::Here(const Departure& who, const std::stop_token& stop) const {
  auto vmi = client_.Get<Vmi>({kube::kVmis, who.name_space, who.name}, stop);
  if (!vmi && vmi.error().code() == Code::kNotFound) return Error(Code::kGone, "it has ended");
  if (!vmi) return vmi.error();
  if (vmi->metadata().uid() != who.vmi.value) {
    return Error(Code::kGone, "another VM has its name by now");
  }
  if (!vmi->metadata().deletion_timestamp().empty()) return Error(Code::kGone, "it ends already");
  const auto pod = vmi->status().active_pods().find(who.pod_uid);
  if (vmi->status().node_name() != node_ || pod == vmi->status().active_pods().end() ||
      pod->second != node_) {
    return Error(Code::kGone, "it is not in that pod any more");
  }
  if (UnderWay(vmi->status().migration_state())) {
    return Error(Code::kGone, "a migration of it is under way");
  }
  return vmi;
}

Result<std::string> Departures::Evict(const Departure& who, const std::stop_token& stop) {
  const auto vmi = Here(who, stop);
  if (!vmi && vmi.error().code() == Code::kGone) return vmi.error().message();
  if (!vmi) return vmi.error();
  if (eviction_version_.empty()) {
    auto version = kube::EvictionVersion(client_, stop);
    if (!version) return version.error();
    eviction_version_ = *std::move(version);
  }
  const auto asked =
      client_.Evict({kube::kPods, who.name_space, who.pod}, who.pod_uid, eviction_version_, stop);
  if (!asked) {
    eviction_version_.clear();  // the server may be another one after an upgrade
    if (asked.error().code() == Code::kNotFound) return "its pod " + who.pod + " has gone";
    return asked.error();
  }
  switch (asked->outcome) {
    case kube::Eviction::kEvicted:
      return "its pod " + who.pod + " ends";
    case kube::Eviction::kMigrating:
      return "KubeVirt migrates it away: " + asked->message;
    case kube::Eviction::kBlocked:
      break;
  }
  return "it was asked, and a PodDisruptionBudget keeps it for now: " + asked->message;
}

Result<Departures::Asked> Departures::Migrate(const Departure& who, const std::stop_token& stop) {
  const auto vmi = Here(who, stop);
  if (!vmi && vmi.error().code() == Code::kGone) return Asked{vmi.error().message(), {}};
  if (!vmi) return vmi.error();
  if (const auto why = kube::WhyItStays(*vmi)) {
    return Error(Code::kInvalid, "it cannot migrate: " + *why);
  }
  const auto made = client_.Create({kube::kMigrations, who.name_space}, ObjectOf(who, node_), stop);
  if (!made) return made.error();
  Migration migration{who, host::Printable(made->metadata().name()),
                      host::Printable(made->metadata().uid())};
  if (migration.name.empty() || migration.uid.empty()) {
    return Error(Code::kInternal, "a migration without a name or UID was made");
  }
  std::string message = "VirtualMachineInstanceMigration " + migration.name + " was made";
  return Asked{std::move(message), std::move(migration)};
}

std::optional<Error> Departures::CallOff(const Migration& migration, const std::string& why,
                                         const std::stop_token& stop) const {
  const Status gone = client_.Delete(RefOf(migration), migration.uid, stop);
  if (!gone && MayBeOtherwise(gone.error())) return std::nullopt;
  const bool done = gone.ok() || gone.error().code() == Code::kNotFound;
  const std::string end = done ? " was called off: " : " should be called off, and is not: ";
  return Error(Code::kExhausted, "VirtualMachineInstanceMigration " + migration.name + end + why +
                                     (done ? "" : ": " + gone.error().message()));
}

// The Node's own agent says whether it is relaxed (docs/policy.md). One without an agent promises
// nothing twice: what the scheduler counted there is there.
std::optional<Error> Departures::JudgeTarget(Migration& migration, const std::stop_token& stop) {
  const Departure& who = migration.who;
  const auto vmi = client_.Get<Vmi>({kube::kVmis, who.name_space, who.name}, stop);
  if (!vmi) return std::nullopt;
  const k8s::VmiMigrationState& state = vmi->status().migration_state();
  if (state.migration_uid() != migration.uid || state.target_node().empty()) return std::nullopt;
  const std::string target = host::Printable(state.target_node());
  const auto reclaim = client_.Get<k8s::NodeReclaimBrief>({kube::kNodeReclaims, "", target}, stop);
  if (!reclaim && reclaim.error().code() == Code::kDenied) {
    return CallOff(migration,
                   "nobody may know how node " + target + " is: " + reclaim.error().message(),
                   stop);
  }
  if (!reclaim && reclaim.error().code() != Code::kNotFound) return std::nullopt;
  if (reclaim) {
    for (const k8s::Condition& condition : reclaim->status().conditions()) {
      if (condition.type() != "Relaxed" || condition.status() != "False") continue;
      return CallOff(migration,
                     "node " + target + " is short of memory itself (" +
                         host::Printable(condition.reason()) + ")",
                     stop);
    }
  }
  migration.target = target;
  return std::nullopt;
}

std::optional<Status> Departures::Look(Migration& migration, const std::stop_token& stop) {
  const auto object = client_.Get<k8s::VirtualMachineInstanceMigration>(RefOf(migration), stop);
  const std::string what = "VirtualMachineInstanceMigration " + migration.name;
  if (!object) {
    if (MayBeOtherwise(object.error())) return {};
    if (object.error().code() == Code::kNotFound) return Error(Code::kGone, what + " was deleted");
    return object.error().In(what + " cannot be followed");
  }
  if (object->metadata().uid() != migration.uid) return Error(Code::kGone, what + " was deleted");
  const std::string& phase = object->status().phase();
  if (phase == "Succeeded") return Ok();
  if (phase == "Failed") {
    const std::string why = object->status().migration_state().failure_reason();
    return Error(Code::kUnavailable,
                 what + " failed" + (why.empty() ? "" : ": " + host::Printable(why, kMostWords)));
  }
  if (LooksForRoom(phase) || !migration.target.empty()) return {};
  if (auto error = JudgeTarget(migration, stop)) return *std::move(error);
  return {};
}

}  // namespace ullage::actuators
