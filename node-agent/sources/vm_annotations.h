// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/map.h>

#include <string>

#include "node-agent/model/vm.h"

namespace ullage::sources {

/// What a VM's owner says in its annotations `ullage.io/…` (docs/standalone.md has the same
/// settings for libvirt): reclaim, placement, when-full, min-memory, shares, guest-agent. A value
/// that makes no sense leaves its default; `spec.bad_setting` then names all of them, in at most 2
/// KiB.
void TakeAnnotations(const google::protobuf::Map<std::string, std::string>& annotations,
                     VmSpec& spec);

}  // namespace ullage::sources
