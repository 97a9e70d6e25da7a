// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ullage/v1/node_agent.pb.h"

namespace ullage::clients {

/// How to show: 0 columns is unlimited.
struct Style {
  int width = 0;
  bool color = false;
};

/// One snapshot as `ullagectl top` shows it: the host, what is published, what is wrong, the VMs.
std::vector<std::string> TopLines(const v1::Snapshot& snapshot, const Style& style);

/// The capacity sum, term by term, and why it is not more.
std::vector<std::string> CapacityLines(const v1::Snapshot& snapshot, const Style& style);

std::vector<std::string> ExplainLines(const v1::Explanation& explanation, const Style& style);

/// What was recorded over time, for `ullagectl report`.
std::vector<std::string> HistoryLines(const v1::History& history, const Style& style);

/// protobuf's own JSON mapping on one line: 64-bit numbers are strings, what is unknown is absent.
std::string ToJson(const google::protobuf::Message& message);

}  // namespace ullage::clients
