// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/kube/reflector.h"
#include "node-agent/model/mode.h"
#include "node-agent/model/params.h"

namespace ullage::sources {

using Labels = std::map<std::string, std::string>;

/// Does the selector (that of the Kubernetes API) select who has these labels? kInvalid: it makes
/// no sense.
Result<bool> Selects(const k8s::LabelSelector& selector, const Labels& labels);

struct PolicyChoice {
  std::string name{};   ///< of the policy in force; empty: none
  std::string fault{};  ///< why none is where one should be, or which of its fields make no sense
  std::optional<Mode> max_mode{};
  std::optional<PolicyParams> params{};  ///< `own`, with the policy's fields over them
};

/// Of the policies that select a node the most specific one, which is the one with the most
/// requirements, is in force, whole. Where two are equally specific neither is. A field that makes
/// no sense keeps the configuration's own value; a maxMode that makes none is observe. The bounds
/// are the configuration's (docs/config.md).
PolicyChoice ChoosePolicy(const std::vector<kube::Item<k8s::ReclaimPolicy>>& policies,
                          const Labels& labels, const PolicyParams& own);

}  // namespace ullage::sources
