// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "node-agent/model/vm.h"

namespace ullage {

/// Where in `all`, that is sorted by `spec.id` (Snapshot::vms, NodeSample::vmis), that id stands or
/// would stand.
template <typename List>
auto PlaceOf(List& all, const VmId& id) {
  return std::lower_bound(all.begin(), all.end(), id,
                          [](const auto& one, const VmId& wanted) { return one.spec.id < wanted; });
}

/// The one of that id; null: there is none.
template <typename List>
auto FindById(List& all, const VmId& id) -> decltype(&*all.begin()) {
  const auto at = PlaceOf(all, id);
  return at != all.end() && at->spec.id == id ? &*at : nullptr;
}

}  // namespace ullage
