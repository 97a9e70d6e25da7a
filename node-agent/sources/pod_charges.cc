// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/pod_charges.h"

#include <unistd.h>

#include <algorithm>

#include "node-agent/host/folder_walk.h"
#include "node-agent/host/pod_cgroup.h"

namespace ullage::sources {
namespace {

// The pods' cgroups below `root` by the pods' UIDs, as paths from there; empty where there are two.
std::map<std::string, std::string> PodCgroups(const std::string& root) {
  std::map<std::string, std::string> paths;
  // Walked to its end: it "finds" nothing.
  (void)host::FindFolder(root, "/", [&](const std::string& path) {
    const auto pod = host::PodOfCgroup(path);
    if (!pod) {
      return pod.error().code() == Code::kNotFound ? host::Visit::kDescend : host::Visit::kSkip;
    }
    const auto [at, first] = paths.try_emplace(pod->uid, path);
    if (!first) at->second.clear();
    return host::Visit::kSkip;
  });
  return paths;
}

}  // namespace

std::map<std::string, Bytes> PodCharges::Read(BootTime now, const SharedList<PodSample>& pods) {
  Keep(pods);
  const bool missing = std::any_of(entries_.begin(), entries_.end(),
                                   [](const auto& entry) { return !entry.second.cgroup; });
  if (missing && (!looked_ || now - *looked_ >= rules_.look_every)) {
    looked_ = now;
    Look();
  }
  ReadCaches(now);
  std::map<std::string, Bytes> held;
  for (auto& [uid, entry] : entries_) {
    if (const auto one = Held(entry)) held.emplace_hint(held.end(), uid, *one);
  }
  return held;
}

void PodCharges::Keep(const SharedList<PodSample>& pods) {
  std::map<std::string, Entry> kept;
  for (const PodSample& pod : pods) {
    if (pod.vmi || !host::IsPodUid(pod.uid)) continue;
    auto known = entries_.extract(pod.uid);
    kept.emplace(pod.uid, known.empty() ? Entry() : std::move(known.mapped()));
  }
  entries_ = std::move(kept);
}

void PodCharges::Look() {
  const auto own = host::CgroupOf(roots_, getpid());
  if (!own) return;
  const std::string root = host::MemoryRoot(roots_, own->v1);
  const auto paths = PodCgroups(root);
  for (auto& [uid, entry] : entries_) {
    const auto path = paths.find(uid);
    if (entry.cgroup || path == paths.end() || path->second.empty()) continue;
    if (auto cgroup = host::MemoryCgroup::Open(root + path->second))
      entry.cgroup = *std::move(cgroup);
  }
}

void PodCharges::ReadCaches(BootTime now) {
  std::vector<Entry*> due;
  for (auto& [uid, entry] : entries_) {
    if (!entry.cgroup) continue;
    if (!entry.cache_read || now - *entry.cache_read >= rules_.cache_every) due.push_back(&entry);
  }
  // Whoever has waited longest, so that many pods do not keep the last ones waiting for ever.
  std::stable_sort(due.begin(), due.end(),
                   [](const Entry* a, const Entry* b) { return a->cache_read < b->cache_read; });
  due.resize(std::min(due.size(), rules_.caches_a_tick));
  for (Entry* entry : due) {
    // The cache last: what becomes cache in between must not count as held, too.
    const auto usage = entry->cgroup->Usage();
    const auto cache = entry->cgroup->Cache();
    if (!cache || !usage) {
      *entry = {};
      continue;
    }
    entry->cache_read = now;
    entry->cache = *cache;
    entry->held = std::max(*usage - *cache, Bytes());
  }
}

std::optional<Bytes> PodCharges::Held(Entry& entry) {
  if (!entry.cache_read) return std::nullopt;
  const auto usage = entry.cgroup->Usage();
  if (!usage) {
    entry = {};  // looked for anew
    return std::nullopt;
  }
  return std::max(std::min(entry.held, *usage - entry.cache), Bytes());
}

}  // namespace ullage::sources
