// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/host/file.h"
#include "node-agent/model/mode.h"
#include "node-agent/model/params.h"
#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "node-agent/model/vm.h"

namespace ullage::agent {

using ullage::Mode;

/// The agent's configuration: a YAML file, read once, compiled into this and never asked again.
/// docs/config.md lists every key; a test holds the two together.
struct Config {
  Mode mode = Mode::kObserve;
  milliseconds tick{1000};
  std::string socket = "/run/ullage/agent.sock";
  std::string state_dir = "/run/ullage";  ///< of one boot, like what it holds
  std::string listen = "127.0.0.1:9797";  ///< metrics, health, page; empty: none
  std::string log_level = "info";

  std::string host_cgroup;  ///< absolute path of the cgroup that bounds the VMs; empty: none

  struct Libvirt {
    std::string uri = "qemu:///system";
    std::string run_dir = "/run/libvirt/qemu";
    milliseconds deadline{2000};       ///< of every question
    milliseconds list_period{2000};    ///< who runs; events come in between
    milliseconds refresh{2000};        ///< each VM's state and statistics
    milliseconds proof_period{10000};  ///< is hinting still on?
  } libvirt;

  /// Without --standalone.
  struct Kubernetes {
    std::string node;                              ///< its name; empty: environment NODE_NAME
    std::string kubeconfig;                        ///< empty: the pod's service account
    std::string kubelet_dir = "/var/lib/kubelet";  ///< where launchers' sockets are
    std::string proc = host::Roots{}.proc;         ///< shows the host's processes
    std::string cgroup = host::Roots{}.cgroup;     ///< the host's whole hierarchy
    std::string node_hook_socket;                  ///< KubeVirt's node hooks; empty: none
    milliseconds increase_every{60000};  ///< at least, between two increases of the resource
    Bytes dead_band = Bytes::MiB(128);   ///< a smaller increase is not written
    /// The kubelet's evictionHard memory.available; 0: it does not evict for memory.
    Bytes eviction_threshold = Bytes::MiB(100);
    LastStep last_step = LastStep::kEvict;  ///< in mode reclaim
  } kubernetes;

  struct Guest {
    GuestRule agent = GuestRule::kDeny;
    milliseconds read_every{10000};  ///< between two readings of a driver's counters
  } guest;

  PolicyParams policy;  ///< guest.parameters are in here
};

/// Compiles `text`. An unknown key, one that stands twice, a value of the wrong type or out of its
/// bounds is kInvalid, with the line ("3: policy.growth: …").
Result<Config> ParseConfig(std::string_view text);

/// The same for a file; errors begin with its path.
Result<Config> LoadConfig(const std::string& path);

}  // namespace ullage::agent
