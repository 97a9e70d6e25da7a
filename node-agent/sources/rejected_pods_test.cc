// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/rejected_pods.h"

#include <gmock/gmock.h>

#include <cstdio>

#include "node-agent/sources/cluster_objects.h"
#include "node-agent/sources/cluster_state.h"

namespace ullage::sources {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// `second` orders them: it is when the pod was made.
kube::Item<k8s::Pod> Pod(const std::string& uid, int second, const std::string& phase = "Failed") {
  char time[64];
  std::snprintf(time, sizeof time, "2026-01-01T%02d:%02d:%02dZ", second / 3600 % 24,
                second / 60 % 60, second % 60);
  auto object = kube::ReadJson<k8s::Pod>(
      R"({"metadata":{"name":"p-)" + uid + R"(","namespace":"ns","uid":")" + uid +
      R"(","creationTimestamp":")" + time +
      R"("},"spec":{"containers":[{"resources":{"requests":{"memory":"1Gi",)"
      R"("ullage.io/reclaimable-memory":"1Gi"}}}]},"status":{"phase":")" +
      phase + R"(","reason":")" + (phase == "Failed" ? "OutOfullage.io/reclaimable-memory" : "") +
      R"("}})");
  EXPECT_TRUE(object.ok()) << object.error().message();
  return {object.ok() ? *object : k8s::Pod{}, ""};
}

class RejectedPodsTest : public testing::Test {
 protected:
  std::vector<std::string> Shown() {
    std::vector<std::string> uids;
    for (const RejectedPod& pod : state_.Read().rejected) uids.push_back(pod.uid);
    return uids;
  }
  void Change(kube::Change change, kube::Item<k8s::Pod> item) {
    state_.pods().OnChange(change, std::move(item));
  }
  ClusterState state_{"n1", {}};
};

TEST_F(RejectedPodsTest, OneThatWasBoundAndRejectedIsCountedOnce) {
  state_.pods().OnAll({});
  Change(kube::Change::kAdded, Pod("a", 1, "Pending"));
  EXPECT_THAT(state_.Read().pods, SizeIs(1));
  EXPECT_THAT(Shown(), IsEmpty());
  Change(kube::Change::kModified, Pod("a", 1));
  EXPECT_THAT(state_.Read().pods, IsEmpty()) << "it holds nothing any more";
  EXPECT_THAT(Shown(), ElementsAre("a"));
  // Its labels change, and the watch begins anew.
  Change(kube::Change::kModified, Pod("a", 1));
  state_.pods().OnAll({Pod("a", 1)});
  EXPECT_EQ(state_.Read().rejections, 1u);
  Change(kube::Change::kDeleted, Pod("a", 1));
  EXPECT_THAT(Shown(), IsEmpty());
  EXPECT_EQ(state_.Read().rejections, 1u) << "what happened has happened";
}

TEST_F(RejectedPodsTest, WhatIsThereAtTheStartWasCountedBefore) {
  state_.pods().OnAll({Pod("a", 1)});
  EXPECT_THAT(Shown(), ElementsAre("a"));
  EXPECT_EQ(state_.Read().rejections, 0u);
  // While the API server was away.
  state_.pods().OnAll({Pod("a", 1), Pod("b", 2)});
  EXPECT_EQ(state_.Read().rejections, 1u);
  state_.pods().OnAll({Pod("b", 2)});
  EXPECT_THAT(Shown(), ElementsAre("b"));
  EXPECT_EQ(state_.Read().rejections, 1u);
}

TEST_F(RejectedPodsTest, TheNewestAreShownAndNoMoreThanSome) {
  state_.pods().OnAll({});
  constexpr int kPods = 40;
  for (int i = 0; i < kPods; ++i) {
    Change(kube::Change::kAdded, Pod(std::to_string(i), (i * 7) % kPods));
  }
  const auto shown = Shown();
  ASSERT_THAT(shown, SizeIs(RejectedPods::kMostShown));
  EXPECT_EQ(std::stoi(shown.front()) * 7 % kPods, kPods - 1);
  EXPECT_EQ(std::stoi(shown.back()) * 7 % kPods,
            kPods - static_cast<int>(RejectedPods::kMostShown));
  EXPECT_EQ(state_.Read().rejections, static_cast<std::uint64_t>(kPods));
}

TEST_F(RejectedPodsTest, AreNotCountedAgainWhereThereIsNoRoomForThem) {
  constexpr int kPods = static_cast<int>(RejectedPods::kMostKept) + 200;
  std::vector<kube::Item<k8s::Pod>> all;
  for (int i = 0; i < kPods; ++i) all.push_back(Pod(std::to_string(i), i));
  state_.pods().OnAll(all);
  state_.pods().OnAll(all);
  Change(kube::Change::kModified, all.front());
  EXPECT_EQ(state_.Read().rejections, 0u);
  Change(kube::Change::kAdded, Pod("newest", kPods));
  EXPECT_EQ(state_.Read().rejections, 1u);
  EXPECT_EQ(Shown().front(), "newest");
}

}  // namespace
}  // namespace ullage::sources
