// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/grants.h"

#include <map>

namespace ullage {

std::vector<Grant> GrantsOf(const NodeSample& node) {
  std::map<VmId, const VmiSample*> vmis;
  for (const VmiSample& vmi : node.vmis) vmis[vmi.spec.id] = &vmi;
  std::map<VmId, Grant> grants;
  for (const PodSample& pod : node.pods) {
    if (!pod.vmi) continue;
    auto [at, fresh] = grants.try_emplace(*pod.vmi);
    Grant& grant = at->second;
    if (fresh) {
      const auto vmi = vmis.find(*pod.vmi);
      if (vmi != vmis.end()) {
        grant.spec = vmi->second->spec;
      } else {
        grant.spec.id = *pod.vmi;
        grant.spec.name = pod.name_space + '/' + pod.name;
      }
    }
    grant.ordinary += pod.memory;
    grant.reclaimed += pod.reclaimable;
  }
  std::vector<Grant> all;
  all.reserve(grants.size());
  for (auto& [id, grant] : grants) all.push_back(std::move(grant));
  return all;
}

}  // namespace ullage
