// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/pod_cgroup.h"

#include <algorithm>
#include <optional>

#include "node-agent/host/file.h"
#include "node-agent/host/folder_walk.h"
#include "node-agent/host/text.h"

namespace ullage::host {
namespace {

constexpr std::size_t kPathLimit = 4096;
constexpr std::size_t kShown = 160;
constexpr std::size_t kUuid = 36;
constexpr std::size_t kDigest = 32;
constexpr std::string_view kAllPods = "kubepods";
constexpr std::string_view kPod = "pod";
constexpr std::string_view kSlice = ".slice";

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

bool IsUid(std::string_view text, char dash) {
  if (text.size() == kDigest) return std::all_of(text.begin(), text.end(), IsHex);
  if (text.size() != kUuid) return false;
  for (std::size_t i = 0; i < kUuid; ++i) {
    const bool gap = i == 8 || i == 13 || i == 18 || i == 23;
    if (gap ? text[i] != dash : !IsHex(text[i])) return false;
  }
  return true;
}

// The quality-of-service classes that have a cgroup of their own; Guaranteed has none.
bool IsQosClass(std::string_view name) { return name == "burstable" || name == "besteffort"; }

// Removes `end` from the end of `text`, if it is there.
bool DropEnd(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  text.remove_suffix(end.size());
  return true;
}

std::optional<std::string> PodByCgroupfs(std::string_view above_parent, std::string_view parent,
                                         std::string_view name) {
  if (!name.starts_with(kPod) || !IsUid(name.substr(kPod.size()), '-')) return std::nullopt;
  if (parent != kAllPods && !(IsQosClass(parent) && above_parent == kAllPods)) return std::nullopt;
  return std::string(name.substr(kPod.size()));
}

// systemd.slice(5): a dash in a slice's name is a level, so a-b.slice lies in a.slice. That is why
// the kubelet writes a UID's own dashes as "_".
std::optional<std::string> PodBySystemd(std::string_view parent, std::string_view name) {
  if (!DropEnd(name, kSlice) || !DropEnd(parent, kSlice)) return std::nullopt;
  const std::size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || name.substr(0, dash) != parent) return std::nullopt;
  name.remove_prefix(dash + 1);
  if (!name.starts_with(kPod) || !IsUid(name.substr(kPod.size()), '_')) return std::nullopt;
  const std::size_t last = parent.rfind('-');
  if (last != std::string_view::npos && IsQosClass(parent.substr(last + 1))) {
    parent = parent.substr(0, last);
  }
  if (!DropEnd(parent, kAllPods) || (!parent.empty() && !parent.ends_with('-'))) {
    return std::nullopt;
  }
  std::string uid(name.substr(kPod.size()));
  std::replace(uid.begin(), uid.end(), '_', '-');
  return uid;
}

}  // namespace

bool IsPodUid(std::string_view text) { return IsUid(text, '-'); }

Result<PodCgroup> PodOfCgroup(std::string_view path) {
  const auto invalid = [&](const char* why) {
    return Error(Code::kInvalid, "cgroup " + Printable(path, kShown) + ": " + why);
  };
  if (!path.starts_with('/') || path.size() > kPathLimit) return invalid("is no path of a cgroup");
  PodCgroup pod;
  std::string_view above_parent;
  std::string_view parent;
  std::string_view rest = path.substr(1);
  while (!rest.empty()) {
    const std::string_view name = TakeUntil(rest, '/');
    if (name.empty() || name == "." || name == "..") return invalid("is no plain path");
    auto uid = PodByCgroupfs(above_parent, parent, name);
    if (!uid) uid = PodBySystemd(parent, name);
    if (uid) {
      if (!pod.uid.empty()) return invalid("has a pod within a pod");
      const auto end = static_cast<std::size_t>(name.data() + name.size() - path.data());
      pod = {*std::move(uid), std::string(path.substr(0, end))};
    }
    above_parent = parent;
    parent = name;
  }
  if (!pod.uid.empty()) return pod;
  return Error(Code::kNotFound, "cgroup " + Printable(path, kShown) + ": belongs to no pod");
}

std::string AllPodsOf(const PodCgroup& pod) {
  // PodOfCgroup took none for a pod's that has no such folder above it, itself or its class's.
  std::string path = pod.path.substr(0, pod.path.rfind('/'));
  std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  DropEnd(name, kSlice);
  const std::string_view last = name.substr(name.rfind('-') + 1);
  if (IsQosClass(last)) path.resize(path.rfind('/'));
  return path;
}

Result<std::string> FindPodCgroup(const std::string& root, std::string_view uid) {
  if (!IsPodUid(uid)) return Error(Code::kInvalid, "'" + Printable(uid, 64) + "' is no pod's UID");
  const auto mounted = OpenDirectory(root);
  if (!mounted) return mounted.error().In("the host's cgroups");
  return FindFolder(root, "/",
                    [&](const std::string& path) {
                      const auto pod = PodOfCgroup(path);
                      if (pod) return pod->uid == uid ? Visit::kFound : Visit::kSkip;
                      return pod.error().code() == Code::kNotFound ? Visit::kDescend : Visit::kSkip;
                    })
      .In("the cgroup of pod " + std::string(uid));
}

}  // namespace ullage::host
