// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/model/time.h"
#include "ullage/v1/node_agent.pb.h"

namespace ullage::publishers {

/// `text` for HTML's text and quoted attributes.
std::string EscapeHtml(std::string_view text);

/// The page for people, whole: no script, nothing loaded from elsewhere. `age` of the snapshot.
std::string RenderPage(const v1::Snapshot& snapshot, milliseconds age);

/// The same before the first tick.
std::string RenderEmptyPage();

}  // namespace ullage::publishers
