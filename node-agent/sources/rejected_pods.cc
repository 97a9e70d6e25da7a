// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/rejected_pods.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "node-agent/sources/cluster_objects.h"

namespace ullage::sources {
namespace {

// RFC 3339 in UTC sorts as text.
bool IsNewer(const RejectedPod& a, const RejectedPod& b) {
  return std::tie(a.created, a.uid) > std::tie(b.created, b.uid);
}

using Kept = std::map<std::string, RejectedPod>;

Kept::const_iterator Oldest(const Kept& kept) {
  return std::max_element(kept.begin(), kept.end(),
                          [](const auto& a, const auto& b) { return IsNewer(a.second, b.second); });
}

// Not one of those that there was no room for.
bool IsNew(const RejectedPod& pod, const Kept& kept) {
  if (kept.contains(pod.uid)) return false;
  return kept.size() < RejectedPods::kMostKept || IsNewer(pod, Oldest(kept)->second);
}

}  // namespace

void RejectedPods::OnAll(std::vector<kube::Item<k8s::Pod>> all) {
  {
    const std::lock_guard lock(mutex_);
    const Kept before = std::exchange(kept_, {});
    for (const auto& item : all) {
      auto pod = RejectedOf(item);
      if (!pod) continue;
      // Those of the first list an agent before this one may have counted.
      if (listed_ && IsNew(*pod, before)) ++count_;
      Keep(*std::move(pod));
    }
    listed_ = true;
  }
  next_.OnAll(std::move(all));
}

void RejectedPods::OnChange(kube::Change change, kube::Item<k8s::Pod> item) {
  {
    auto pod = RejectedOf(item);
    const std::lock_guard lock(mutex_);
    if (change == kube::Change::kDeleted) {
      kept_.erase(item.object.metadata().uid());
    } else if (pod) {
      if (IsNew(*pod, kept_)) ++count_;
      Keep(*std::move(pod));
    }
  }
  next_.OnChange(change, std::move(item));
}

void RejectedPods::Keep(RejectedPod pod) {
  std::string uid = pod.uid;
  kept_.insert_or_assign(std::move(uid), std::move(pod));
  if (kept_.size() <= kMostKept) return;
  kept_.erase(Oldest(kept_));
}

void RejectedPods::Take(NodeSample& sample) const {
  const std::lock_guard lock(mutex_);
  sample.rejections = count_;
  std::vector<const RejectedPod*> newest;
  newest.reserve(kept_.size());
  for (const auto& [uid, pod] : kept_) newest.push_back(&pod);
  const auto shown = static_cast<std::ptrdiff_t>(std::min(newest.size(), kMostShown));
  std::partial_sort(newest.begin(), newest.begin() + shown, newest.end(),
                    [](const RejectedPod* a, const RejectedPod* b) { return IsNewer(*a, *b); });
  for (std::ptrdiff_t i = 0; i < shown; ++i) {
    sample.rejected.push_back(*newest[static_cast<std::size_t>(i)]);
  }
}

}  // namespace ullage::sources
