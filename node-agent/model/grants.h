// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "node-agent/model/node.h"
#include "node-agent/model/sample.h"

namespace ullage {

/// What the scheduler has promised to VMs on this node, by their pods' requests: one grant a VM,
/// with all its pods' requests (it has one here; whoever made a second is counted with both). A
/// launcher whose VMI is unknown (its migration has only begun, the VMI is
/// gone or may not be read) has one, too, under the VMI's UID and the pod's name.
std::vector<Grant> GrantsOf(const NodeSample& node);

}  // namespace ullage
