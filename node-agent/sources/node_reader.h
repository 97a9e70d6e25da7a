// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "node-agent/model/node.h"

namespace ullage::sources {

/// What the API server says of one node; implemented by ClusterSource.
class NodeReader {
 public:
  NodeReader() = default;
  NodeReader(const NodeReader&) = delete;
  NodeReader& operator=(const NodeReader&) = delete;
  virtual ~NodeReader() = default;
  /// Never blocks: copies what is known. One thread only.
  virtual NodeSample Read() = 0;
};

}  // namespace ullage::sources
