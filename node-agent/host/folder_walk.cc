// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/folder_walk.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

// The folders in `root` + `path`, by their paths from `root`; at most `most` of them are added.
void AddBelow(const std::string& root, const std::string& path, std::size_t most,
              std::vector<std::string>& folders) {
  std::error_code error;
  std::filesystem::directory_iterator entry(root + path, error);
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    if (entry->symlink_status(gone).type() != std::filesystem::file_type::directory) continue;
    if (folders.size() == most) return;
    std::string below = path == "/" ? "" : path;
    below.append("/").append(entry->path().filename().string());
    folders.push_back(std::move(below));
  }
}

}  // namespace

Result<std::string> FindFolder(const std::string& root, const std::string& start,
                               const std::function<Visit(const std::string&)>& visit,
                               std::size_t most) {
  std::vector<std::string> level{start};
  std::size_t seen = 0;
  for (int depth = 0; depth <= kWalkDepth && !level.empty(); ++depth) {
    std::vector<std::string> next;
    for (const std::string& path : level) {
      if (++seen > most) {
        return Error(Code::kExhausted, Printable(root) + ": not among the first " +
                                           std::to_string(most) + " folders");
      }
      const Visit verdict = visit(path);
      if (verdict == Visit::kFound) return path;
      // One more than is allowed, so that the limit shows.
      if (verdict == Visit::kDescend) AddBelow(root, path, most + 1, next);
    }
    level = std::move(next);
  }
  return Error(Code::kNotFound, Printable(root) + ": not below it");
}

}  // namespace ullage::host
