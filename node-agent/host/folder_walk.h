// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "node-agent/model/result.h"

namespace ullage::host {

enum class Visit {
  kDescend,  ///< not it; look below it
  kSkip,     ///< not it, nor anything below it
  kFound,
};

/// How much is looked at before a walk gives up. A node with 250 pods has about 2,000 cgroups.
inline constexpr int kWalkDepth = 16;
inline constexpr std::size_t kWalkFolders = 16384;

/// Walks the folders from `root` + `start` down, the shallow ones first, and asks `visit` about
/// each by its path from `root` ("/" is the root itself). Links are not followed; a folder that
/// vanishes or may not be read has nothing below it. Returns the path for which it said kFound.
/// kNotFound: none. kExhausted: there are more than `most`, and it was not among those.
Result<std::string> FindFolder(const std::string& root, const std::string& start,
                               const std::function<Visit(const std::string&)>& visit,
                               std::size_t most = kWalkFolders);

}  // namespace ullage::host
