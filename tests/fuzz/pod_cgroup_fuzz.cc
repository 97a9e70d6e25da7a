// SPDX-License-Identifier: Apache-2.0
// Any bytes as what ties a pod to its QEMU: a cgroup's path, /proc/PID/stat and cmdline, and
// cgroup.procs.
#include "node-agent/host/pod_cgroup.h"

#include "node-agent/host/cgroup.h"
#include "node-agent/host/process.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

const std::string kBase = "/kubepods/burstable/pod460c5c93-8784-4c49-862e-0612f852352e/c";

void Pod(std::string_view path) {
  const auto pod = host::PodOfCgroup(path);
  if (!pod) return Require(IsShowable(pod.error().message()), "an error can be shown");
  Require(host::IsPodUid(pod->uid), "a pod has a UID");
  Require(path.starts_with(pod->path), "its cgroup is the first part of the path");
  const std::string_view below = path.substr(pod->path.size());
  Require(below.empty() || below.front() == '/', "and a whole name");
  for (const std::string& again : {pod->path, pod->path + "/c"}) {
    const auto same = host::PodOfCgroup(again);
    Require(same.ok() && same->uid == pod->uid && same->path == pod->path, "and the same again");
  }
}

void Resolve(std::string_view path) {
  const auto resolved = host::ResolveCgroup(kBase, path);
  if (!resolved) return Require(IsShowable(resolved.error().message()), "an error can be shown");
  // Written down a second time: by the library.
  std::string normal = std::filesystem::path(kBase + std::string(path)).lexically_normal().string();
  if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  Require(*resolved == normal, "a path leads where it says");
}

void Locate(std::string_view text) {
  host::Roots roots;
  roots.cgroup_namespace = kBase;
  const auto cgroup = host::LocateCgroup(roots, text);
  if (!cgroup) return Require(IsShowable(cgroup.error().message()), "an error can be shown");
  Require(cgroup->path.starts_with('/'), "a path is absolute");
  Require(!cgroup->path.ends_with("/..") && cgroup->path.find("/../") == std::string::npos,
          "and plain");
  Pod(cgroup->path);
}

void Stat(std::string_view text) {
  const auto stat = host::ParseProcStat(text);
  Require(stat || IsShowable(stat.error().message()), "an error can be shown");
  Require(!stat || stat->parent >= 0, "a parent is a pid or none");
}

void Members(std::string_view text) {
  const auto pids = host::ParseMembers(text);
  if (!pids) return Require(IsShowable(pids.error().message()), "an error can be shown");
  for (const std::int32_t pid : *pids) Require(pid > 0, "a member is a pid");
}

void Words(std::string_view text) {
  Require(host::ProgramName(text).find('/') == std::string_view::npos, "a name has no folder");
  const bool runs = host::OptionIn(text, "-name", "guest=a_b");
  Require(!runs || text.find("guest=a_b") != std::string_view::npos, "an option is there");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  std::string_view text = fuzz::View(data, size);
  switch (fuzz::TakeByte(text) % 6) {
    case 0:
      fuzz::Pod(text);
      break;
    case 1:
      fuzz::Resolve(text);
      break;
    case 2:
      fuzz::Locate(text);
      break;
    case 3:
      fuzz::Stat(text);
      break;
    case 4:
      fuzz::Members(text);
      break;
    default:
      fuzz::Words(text);
  }
  return 0;
}
