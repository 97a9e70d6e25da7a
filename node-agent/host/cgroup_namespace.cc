// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup_namespace.h"

#include <algorithm>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/folder_walk.h"
#include "node-agent/host/pod_cgroup.h"
#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kTextLimit = 64 << 10;

bool HasMember(const std::string& folder, std::int32_t pid) {
  const auto members = CgroupMembers(folder);
  return members.ok() && std::find(members->begin(), members->end(), pid) != members->end();
}

}  // namespace

Result<std::string> CgroupNamespaceRoot(const Roots& roots, std::string_view pod_uid,
                                        std::int32_t pid) {
  const std::string file = roots.proc + "/" + std::to_string(pid) + "/cgroup";
  const auto text = ReadFile(file, kTextLimit);
  if (!text) return text.error();
  const auto line = ParseProcCgroup(*text);
  if (!line) return line.error().In(file);
  const std::string root = MemoryRoot(roots, line->v1);
  const auto pod = FindPodCgroup(root, pod_uid);
  if (!pod) return pod.error();
  const auto own = FindFolder(root, *pod, [&](const std::string& path) {
    return HasMember(root + path, pid) ? Visit::kFound : Visit::kDescend;
  });
  if (!own) {
    return own.error().In("process " + std::to_string(pid) + " in the cgroup of pod " +
                          std::string(pod_uid));
  }
  if (line->path == "/") return *own;
  if (!own->ends_with(line->path)) {
    return Error(Code::kInvalid, file + " says " + Printable(line->path, 128) + ", but " + root +
                                     " has it in " + Printable(*own, 128));
  }
  const std::string above = own->substr(0, own->size() - line->path.size());
  return above.empty() ? "/" : above;
}

}  // namespace ullage::host
