// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "node-agent/kube/reflector.h"
#include "node-agent/model/node.h"

namespace ullage::sources {

/// Hears of the node's pods, keeps those that the kubelet rejected (RejectedOf) and hands all on to
/// `next`, for which a pod that has ended is none. Told on a reflector's thread, read on the
/// tick's.
class RejectedPods final : public kube::Handler<k8s::Pod> {
 public:
  /// Failed pods stay at the API server until somebody collects them, which may be never.
  static constexpr std::size_t kMostKept = 1024;
  static constexpr std::size_t kMostShown = 32;

  /// `next` must outlive it.
  explicit RejectedPods(kube::Handler<k8s::Pod>& next) : next_(next) {}

  void OnAll(std::vector<kube::Item<k8s::Pod>> all) override;
  void OnChange(kube::Change change, kube::Item<k8s::Pod> item) override;
  void OnFault(const Error& error) override { next_.OnFault(error); }
  void OnFine() override { next_.OnFine(); }

  /// Fills NodeSample::rejected and ::rejections.
  void Take(NodeSample& sample) const;

 private:
  void Keep(RejectedPod pod);

  kube::Handler<k8s::Pod>& next_;
  mutable std::mutex mutex_;
  std::map<std::string, RejectedPod> kept_;  // by UID
  bool listed_ = false;
  std::uint64_t count_ = 0;
};

}  // namespace ullage::sources
