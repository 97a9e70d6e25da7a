// SPDX-License-Identifier: Apache-2.0
// Any bytes as the agent's configuration.
#include "node-agent/agent/config.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

void Bounds(const agent::Config& config) {
  Require(config.tick >= milliseconds(100) && config.tick <= milliseconds(60000), "tick");
  Require(config.socket.empty() || config.socket.starts_with('/'), "socket is absolute");
  Require(config.state_dir.empty() || config.state_dir.starts_with('/'), "state_dir is absolute");
  Require(config.host_cgroup.empty() || config.host_cgroup.starts_with('/'), "host.cgroup");
  Require(config.libvirt.deadline >= milliseconds(100), "libvirt.deadline");
  Require(config.libvirt.refresh >= milliseconds(200), "libvirt.refresh");
  const PolicyParams& policy = config.policy;
  Require(policy.growth.value >= 0 && policy.growth.value <= 10000, "policy.growth");
  Require(policy.ratio_cap.value >= 10000 && policy.ratio_cap.value <= 100000, "policy.ratio_cap");
  Require(policy.quantum >= Bytes::MiB(1) && policy.quantum <= Bytes::GiB(64), "policy.quantum");
  Require(policy.rise_delay >= seconds(0) && policy.rise_delay <= seconds(86400), "rise_delay");
  Require(policy.reserve >= Bytes() && policy.overhead.fixed >= Bytes(), "sizes");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // Longer than what libFuzzer comes up with.
  for (const char* piece : {"[", "{a: ", "- ", "? ", "&a [*a, "}) {
    std::string deep;
    while (deep.size() < std::size_t{200} << 10) deep += piece;
    const auto config = ullage::agent::ParseConfig(deep);
    ullage::fuzz::Require(!config, "nesting without an end is no configuration");
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  const auto config = agent::ParseConfig(fuzz::View(data, size));
  if (config) fuzz::Bounds(*config);
  return 0;
}
