// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/grants.h"

#include <map>

#include "node-agent/model/find.h"

namespace ullage {

std::vector<Grant> GrantsOf(const NodeSample& node) {
  std::map<VmId, Grant> grants;
  for (const PodSample& pod : node.pods) {
    if (!pod.vmi) continue;
    auto [at, fresh] = grants.try_emplace(*pod.vmi);
    Grant& grant = at->second;
    if (fresh) {
      if (const VmiSample* vmi = FindById(node.vmis, *pod.vmi)) {
        grant.spec = vmi->spec;
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
