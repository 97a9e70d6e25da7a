// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node-agent/kube/reflector.h"
#include "node-agent/model/node.h"
#include "node-agent/sources/cluster_objects.h"
#include "node-agent/sources/reclaim_policy.h"
#include "node-agent/sources/rejected_pods.h"

namespace ullage::sources {

/// A followed collection: of each object what is needed of it, by its UID. Told on a reflector's
/// thread, read on the tick's.
template <typename T, typename Kept>
class Followed final : public kube::Handler<T> {
 public:
  /// What is kept of an object; absent: nothing, it counts for no more.
  using Convert = std::function<std::optional<Kept>(kube::Item<T>)>;
  /// `may_be_absent`: a cluster need not have this kind (404) nor show it to us (403).
  Followed(Convert convert, bool may_be_absent)
      : convert_(std::move(convert)), may_be_absent_(may_be_absent) {}

  void OnAll(std::vector<kube::Item<T>> all) override {
    std::map<std::string, Kept> kept;
    for (auto& item : all) {
      std::string uid = item.object.metadata().uid();
      if (auto one = convert_(std::move(item)))
        kept.insert_or_assign(std::move(uid), *std::move(one));
    }
    const std::lock_guard lock(mutex_);
    kept_ = std::move(kept);
    listed_ = true;
    ++version_;
  }
  void OnChange(kube::Change change, kube::Item<T> item) override {
    std::string uid = item.object.metadata().uid();
    auto one = change == kube::Change::kDeleted ? std::nullopt : convert_(std::move(item));
    const std::lock_guard lock(mutex_);
    if (one) {
      kept_.insert_or_assign(std::move(uid), *std::move(one));
    } else {
      kept_.erase(uid);
    }
    ++version_;
  }
  void OnFault(const Error& error) override {
    const std::lock_guard lock(mutex_);
    const bool absent = may_be_absent_ && error.code() == Code::kNotFound;
    if (absent) kept_.clear();
    if (absent || (may_be_absent_ && error.code() == Code::kDenied)) listed_ = true;
    ++version_;
    // Each try fails in other words; the first ones are said for as long as it lasts.
    if (!fault_.empty() && code_ == error.code()) return;
    code_ = error.code();
    fault_ = absent ? "" : error.message();
  }
  void OnFine() override {
    const std::lock_guard lock(mutex_);
    fault_.clear();
    ++version_;
  }

  struct View {
    std::vector<Kept> all;  ///< sorted by UID
    bool listed = false;    ///< all there are were told, or that there are none
    std::string fault;      ///< why it is not followed now
  };
  View Read() const {
    const std::lock_guard lock(mutex_);
    View view{{}, listed_, fault_};
    view.all.reserve(kept_.size());
    for (const auto& [uid, one] : kept_) view.all.push_back(one);
    return view;
  }
  bool listed() const {
    const std::lock_guard lock(mutex_);
    return listed_;
  }
  /// Rises with each change.
  std::uint64_t version() const {
    const std::lock_guard lock(mutex_);
    return version_;
  }

 private:
  const Convert convert_;
  const bool may_be_absent_;
  mutable std::mutex mutex_;
  std::map<std::string, Kept> kept_;
  bool listed_ = false;
  Code code_ = Code::kInternal;
  std::string fault_;
  std::uint64_t version_ = 0;
};

/// What the API server has told of one node, put together.
class ClusterState {
 public:
  ClusterState(std::string node, PolicyParams own);

  kube::Handler<k8s::Node>& node() { return nodes_; }
  kube::Handler<k8s::Pod>& pods() { return rejected_; }
  kube::Handler<k8s::VirtualMachineInstance>& vmis() { return vmis_; }
  kube::Handler<k8s::ReclaimPolicy>& policies() { return policies_; }

  /// Whether each collection was told once.
  bool listed() const;
  /// All but `heard_at`. One thread only.
  NodeSample Read();

 private:
  void TakeNode(NodeSample& sample, Labels& labels) const;
  void TakePodsAndVms(NodeSample& sample);
  void TakePolicy(NodeSample& sample, const Labels& labels);

  const std::string name_;
  const PolicyParams own_;
  Followed<k8s::Node, NodeFacts> nodes_;
  Followed<k8s::Pod, PodSample> pods_;
  RejectedPods rejected_{pods_};
  Followed<k8s::VirtualMachineInstance, NodeVmi> vmis_;
  Followed<k8s::ReclaimPolicy, kube::Item<k8s::ReclaimPolicy>> policies_;

  // The pods and VMIs put together, until one of them changes.
  struct Joined {
    std::uint64_t of_pods = 0;
    std::uint64_t of_vmis = 0;
    SharedList<PodSample> pods;
    SharedList<VmiSample> vmis;
    std::string fault;
  };
  Joined Join() const;
  std::optional<Joined> joined_;

  // The choice of a policy, until a policy or the node's labels change.
  std::uint64_t chosen_of_ = 0;
  Labels chosen_for_;
  std::optional<PolicyChoice> chosen_;
};

}  // namespace ullage::sources
