// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/config.h"

#include "node-agent/agent/yaml_section.h"
#include "node-agent/host/file.h"

namespace ullage::agent {
namespace {

constexpr std::size_t kFileLimit = 256 << 10;

void ReadLibvirt(Section section, Config::Libvirt& libvirt) {
  section.Text("uri", libvirt.uri);
  section.AbsolutePath("run_dir", libvirt.run_dir);
  section.Duration("deadline", libvirt.deadline, milliseconds(100), milliseconds(60000));
  section.Duration("list_period", libvirt.list_period, milliseconds(200), milliseconds(60000));
  section.Duration("refresh", libvirt.refresh, milliseconds(200), milliseconds(60000));
  section.Duration("proof_period", libvirt.proof_period, milliseconds(500), milliseconds(600000));
  section.End();
}

// Each name is a key of its own, so that another one is refused with its line.
void ReadGuest(Section section, Config& config) {
  section.OneOf("agent", config.guest.agent,
                {GuestRule::kNever, GuestRule::kDeny, GuestRule::kAllow});
  section.Duration("read_every", config.guest.read_every, milliseconds(200), milliseconds(3600000));
  Section parameters = section.Below("parameters");
  for (const GuestParameter& parameter : kGuestParameters) {
    const std::string name(parameter.name);
    const std::string wanted = parameter.flag ? "Y or N"
                                              : "a number from " + std::to_string(parameter.least) +
                                                    " to " + std::to_string(parameter.most);
    const auto value = parameters.Converted(
        name.c_str(), wanted, [&](std::string_view text) { return Canonical(parameter, text); });
    if (value) config.policy.guest_parameters[name] = *value;
  }
  parameters.End();
  section.End();
}

void ReadPolicy(Section section, PolicyParams& policy) {
  constexpr Permyriad kNone{0};
  constexpr Permyriad kAll{10000};
  section.Share("growth", policy.growth, kNone, kAll);
  section.Share("buffer_of_host", policy.buffer_of_host, kNone, kAll);
  section.Share("buffer_of_vm", policy.buffer_of_vm, kNone, kAll);
  section.Share("ratio_cap", policy.ratio_cap, kAll, Permyriad{100000});
  section.Size("quantum", policy.quantum, Bytes::MiB(1), Bytes::GiB(64));
  section.OneOf("bound", policy.bound, {Bound::kHorizon, Bound::kFull});
  section.Duration("horizon", policy.horizon, seconds(60), seconds(3600));
  section.Share("dead_band", policy.dead_band, kNone, kAll);
  section.Duration("history_min", policy.history_min, seconds(0), seconds(86400));
  section.Duration("rise_delay", policy.rise_delay, seconds(0), seconds(86400));
  section.Share("rise_step", policy.rise_step, Permyriad{1}, kAll);
  section.Duration("stale_after", policy.stale_after, seconds(5), seconds(600));
  section.End();
}

void ReadHybrid(Section section, HybridParams& hybrid) {
  constexpr Permyriad kNone{0};
  constexpr Permyriad kAll{10000};
  section.Share("hold_below", hybrid.hold_below, kNone, kAll);
  section.Share("shrink_below", hybrid.shrink_below, kNone, kAll);
  section.Share("limit_below", hybrid.limit_below, kNone, kAll);
  section.Share("evict_below", hybrid.evict_below, kNone, kAll);
  section.Share("min_memory", hybrid.min_memory, kNone, kAll);
  section.Share("page_out", hybrid.page_out, kNone, Permyriad{500});
  section.Share("refaults", hybrid.refaults, Permyriad{1}, kAll);
  section.Share("pressure", hybrid.pressure, Permyriad{1}, kAll);
  section.Duration("victim_every", hybrid.victim_every, seconds(1), seconds(3600));
  section.End();
}

void ReadHost(Section section, Config& config) {
  section.AbsolutePathOrNone("cgroup", config.host_cgroup);
  section.Size("reserve", config.policy.reserve, Bytes(), Bytes::GiB(1 << 16));
  section.End();
}

void ReadKubernetes(Section section, Config::Kubernetes& kubernetes) {
  section.Text("node", kubernetes.node);
  section.AbsolutePathOrNone("kubeconfig", kubernetes.kubeconfig);
  section.AbsolutePath("kubelet_dir", kubernetes.kubelet_dir);
  section.AbsolutePath("proc", kubernetes.proc);
  section.AbsolutePath("cgroup", kubernetes.cgroup);
  section.AbsolutePathOrNone("node_hook_socket", kubernetes.node_hook_socket);
  section.Duration("increase_every", kubernetes.increase_every, milliseconds(0),
                   milliseconds(86400000));
  section.Size("dead_band", kubernetes.dead_band, Bytes(), Bytes::GiB(64));
  section.Size("eviction_threshold", kubernetes.eviction_threshold, Bytes(), Bytes::GiB(1 << 16));
  section.OneOf("last_step", kubernetes.last_step,
                {LastStep::kNone, LastStep::kMigrate, LastStep::kEvict});
  section.End();
}

void ReadOverhead(Section section, Overhead& overhead) {
  section.Size("fixed", overhead.fixed, Bytes(), Bytes::GiB(64));
  section.Size("per_vcpu", overhead.per_vcpu, Bytes(), Bytes::GiB(1));
  section.End();
}

void ReadAll(Section top, Config& config) {
  top.OneOf("mode", config.mode, {Mode::kObserve, Mode::kPublish, Mode::kReclaim});
  top.Duration("tick", config.tick, milliseconds(100), milliseconds(60000));
  top.AbsolutePath("socket", config.socket);
  top.AbsolutePath("state_dir", config.state_dir);
  top.Text("listen", config.listen);
  top.OneOf("log_level", config.log_level, {"debug", "info", "warning", "error"});
  ReadHost(top.Below("host"), config);
  ReadOverhead(top.Below("overhead"), config.policy.overhead);
  ReadLibvirt(top.Below("libvirt"), config.libvirt);
  ReadKubernetes(top.Below("kubernetes"), config.kubernetes);
  ReadGuest(top.Below("guest"), config);
  ReadPolicy(top.Below("policy"), config.policy);
  ReadHybrid(top.Below("hybrid"), config.policy.hybrid);
  top.End();
}

}  // namespace

Result<Config> ParseConfig(std::string_view text) {
  Config config;
  const Status status = ReadYaml(text, [&](Section top) { ReadAll(std::move(top), config); });
  if (!status) return status.error();
  return config;
}

Result<Config> LoadConfig(const std::string& path) {
  const auto text = host::ReadFile(path, kFileLimit);
  if (!text) return text.error();
  auto config = ParseConfig(*text);
  if (!config) return Error(config.error().code(), path + ":" + config.error().message());
  return config;
}

}  // namespace ullage::agent
