// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "node-agent/kube/client.h"
#include "node-agent/model/vm.h"

namespace ullage::actuators {

/// A VM that is to go, and the pod in which it ran when that was decided.
struct Departure {
  VmId vmi;  ///< metadata.uid
  std::string name_space;
  std::string name;  ///< of the VMI
  std::string pod;
  std::string pod_uid;
  std::string why;
};

/// A VirtualMachineInstanceMigration that this agent made.
struct Migration {
  Departure who;
  std::string name;
  std::string uid;
  std::string target{};  ///< the node it goes to, once that was found good enough
};

/// What one VM is asked of KubeVirt and of the API server, one request after the other. Who it is
/// is asked again right before: a VMI or pod that has only the same name is never touched. Blocks;
/// for one thread. Messages are printable and hold the server's own words.
class Departures {
 public:
  /// `node`: this one's name. `client` must outlive it.
  Departures(const kube::Client& client, std::string node)
      : client_(client), node_(std::move(node)) {}

  /// Asks the pod to go. That is done, too, where KubeVirt keeps the pod and migrates its VM away,
  /// where a PodDisruptionBudget keeps it for now (older KubeVirts answer so while they migrate),
  /// and where it has gone already; the message says which. Errors: those of Client::Evict.
  Result<std::string> Evict(const Departure& who, const std::stop_token& stop);

  struct Asked {
    std::string message;
    std::optional<Migration> migration;  ///< absent: none was wanted any more
  };
  /// Errors: kInvalid: KubeVirt refuses, or says that the VM cannot migrate; kNotFound: it knows no
  /// migrations; those of Client::CreateText.
  Result<Asked> Migrate(const Departure& who, const std::stop_token& stop);

  /// How it goes on, by the object's phase. Absent: it is under way, or nobody knows just now. Ok:
  /// the VM has left. An error: it failed, or it was called off because its target is short of
  /// memory itself.
  std::optional<Status> Look(Migration& migration, const std::stop_token& stop);

 private:
  using Vmi = k8s::VirtualMachineInstance;
  /// kGone: it is not here any more, or another one has its name.
  Result<Vmi> Here(const Departure& who, const std::stop_token& stop) const;
  std::optional<Error> JudgeTarget(Migration& migration, const std::stop_token& stop);
  /// Absent: that could not be asked for just now.
  std::optional<Error> CallOff(const Migration& migration, const std::string& why,
                               const std::stop_token& stop) const;

  const kube::Client& client_;
  const std::string node_;
  std::string eviction_version_;  // empty: not asked yet
};

}  // namespace ullage::actuators
