// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/pod_cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/folder_walk.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kUid = "460c5c93-8784-4c49-862e-0612f852352e";
const std::string kSystemdUid = "460c5c93_8784_4c49_862e_0612f852352e";
const std::string kOther = "11111111-2222-4333-8444-555555555555";
const std::string kContainer(64, 'b');

std::string UidOf(const std::string& path) {
  const auto pod = PodOfCgroup(path);
  return pod ? pod->uid : std::string(Name(pod.error().code()));
}

TEST(IsPodUid, TakesWhatTheApiServerAndTheKubeletMake) {
  EXPECT_TRUE(IsPodUid(kUid));
  EXPECT_TRUE(IsPodUid("0123456789abcdef0123456789abcdef")) << "a static pod";
  for (const std::string& bad :
       {std::string(), std::string(".."), std::string("460C5C93-8784-4C49-862E-0612F852352E"),
        kSystemdUid, kUid + "0", kUid.substr(1), std::string(36, '-'), "../" + kUid.substr(3),
        std::string(36, '\0'), kUid + "\n", std::string(32, 'g')}) {
    EXPECT_FALSE(IsPodUid(bad)) << bad;
  }
}

TEST(PodOfCgroup, KnowsTheCgroupfsDriver) {
  for (const std::string qos : {"", "/burstable", "/besteffort"}) {
    const std::string pod_path = "/kubepods" + qos + "/pod" + kUid;
    for (const std::string& prefix :
         {std::string(), std::string("/kubelet"), "/docker/" + kContainer + "/kubelet"}) {
      const auto pod = PodOfCgroup(prefix + pod_path + "/" + kContainer);
      ASSERT_TRUE(pod.ok()) << pod.error().message();
      EXPECT_EQ(pod->uid, kUid);
      EXPECT_EQ(pod->path, prefix + pod_path);
    }
  }
}

TEST(PodOfCgroup, KnowsTheSystemdDriver) {
  for (const std::string qos : {"", "-burstable", "-besteffort"}) {
    const std::string class_slice = qos.empty() ? "" : "/kubepods" + qos + ".slice";
    const std::string pod_path =
        "/kubepods.slice" + class_slice + "/kubepods" + qos + "-pod" + kSystemdUid + ".slice";
    for (const std::string& container :
         {"/cri-containerd-" + kContainer + ".scope", "/crio-" + kContainer + ".scope",
          "/crio-" + kContainer + ".scope/container", "/" + kContainer, std::string()}) {
      const auto pod = PodOfCgroup(pod_path + container);
      ASSERT_TRUE(pod.ok()) << pod.error().message();
      EXPECT_EQ(pod->uid, kUid);
      EXPECT_EQ(pod->path, pod_path);
    }
  }
}

TEST(PodOfCgroup, KnowsARootOfTheKubeletsOwn) {
  EXPECT_EQ(UidOf("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
                  "kubelet-kubepods-burstable-pod" +
                  kSystemdUid + ".slice/cri-containerd-" + kContainer + ".scope"),
            kUid);
  EXPECT_EQ(
      UidOf("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + kSystemdUid + ".slice"),
      kUid);
}

TEST(PodOfCgroup, KnowsBothLinesOfProcCgroup) {
  const std::string path = "/kubepods/burstable/pod" + kUid + "/" + kContainer;
  const auto v1 = ParseProcCgroup("8:pids:" + path + "\n4:memory:" + path + "\n0::/elsewhere\n");
  ASSERT_TRUE(v1.ok());
  EXPECT_TRUE(v1->v1);
  EXPECT_EQ(UidOf(v1->path), kUid);
  const auto v2 = ParseProcCgroup("0::" + path + "\n");
  ASSERT_TRUE(v2.ok());
  EXPECT_EQ(UidOf(v2->path), kUid);
}

TEST(PodOfCgroup, LooksLikeAPodIsNotEnough) {
  for (const std::string& path :
       {std::string("/"), std::string("/system.slice/kubelet.service"),
        "/pod" + kUid,                                      // not among the pods
        "/user/burstable/pod" + kUid,                       // a class of somebody else's
        "/kubepods/guaranteed/pod" + kUid,                  // there is no such class
        "/kubepods/burstable/burstable/pod" + kUid,         //
        "/kubepods/burstable/pod" + kSystemdUid,            // the other driver's spelling
        "/kubepods/burstable/pod" + kUid + "x/c",           //
        "/kubepods/burstable/xpod" + kUid,                  //
        "/kubepods.slice/pod" + kUid,                       //
        "/kubepods/kubepods-pod" + kSystemdUid + ".slice",  // no slice above it
        "/x.slice/kubepods-pod" + kSystemdUid + ".slice",   // in a slice that is not its own
        "/kubepods.slice/kubepods-burstable-pod" + kSystemdUid + ".slice",  // a level is missing
        "/kubepods.slice/kubepods-pod" + kUid + ".slice",                   // dashes are levels
        "/kubepods.slice/kubepods-pod" + kSystemdUid + ".scope",
        "/xkubepods.slice/xkubepods-pod" + kSystemdUid + ".slice",
        "/user-kubepods-x.slice/user-kubepods-x-pod" + kSystemdUid + ".slice",
        "/burstable.slice/burstable-pod" + kSystemdUid + ".slice"}) {
    EXPECT_EQ(UidOf(path), "not found") << path;
  }
}

TEST(PodOfCgroup, RefusesWhatIsNoPlainPath) {
  const std::string pod = "/kubepods/pod" + kUid;
  for (const std::string& path :
       {std::string(), "kubepods/pod" + kUid, "/x/.." + pod, pod + "/../../pod" + kOther,
        "/." + pod, "/" + pod, pod + "//c", "/" + std::string(5000, 'a') + pod}) {
    EXPECT_EQ(UidOf(path), "invalid") << path;
  }
  EXPECT_THAT(PodOfCgroup("/a\x1b[2J").error().message(), Not(HasSubstr("\x1b")));
}

TEST(PodOfCgroup, RefusesAPodWithinAPod) {
  const std::string outer = "/kubepods/burstable/pod" + kOther + "/" + kContainer;
  EXPECT_EQ(UidOf(outer), kOther);
  EXPECT_EQ(UidOf(outer + "/kubepods/burstable/pod" + kUid + "/" + kContainer), "invalid")
      << "whoever may make cgroups in his container may name them as he likes";
  EXPECT_EQ(UidOf(outer + "/kubepods.slice/kubepods-pod" + kSystemdUid + ".slice"), "invalid");
}

TEST(AllPodsOf, IsTheFolderAboveTheClasses) {
  const auto all = [](const std::string& path) {
    const auto pod = PodOfCgroup(path);
    return pod ? AllPodsOf(*pod) : pod.error().message();
  };
  const std::string uid = "3f0c5c1e-0000-4000-8000-00000000000a";
  const std::string slice = "pod3f0c5c1e_0000_4000_8000_00000000000a.slice";
  EXPECT_EQ(all("/kubepods/pod" + uid + "/c"), "/kubepods");
  EXPECT_EQ(all("/lab/kubepods/burstable/pod" + uid), "/lab/kubepods");
  EXPECT_EQ(all("/kubepods.slice/kubepods-" + slice), "/kubepods.slice");
  EXPECT_EQ(all("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-" + slice + "/c"),
            "/kubepods.slice");
  EXPECT_EQ(all("/a.slice/a-kubepods.slice/a-kubepods-" + slice), "/a.slice/a-kubepods.slice");
}

TEST(FindPodCgroup, FindsItBelowAnyPrefix) {
  const TemporaryTree tree;
  const std::string pod =
      "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + kSystemdUid + ".slice";
  tree.Write("memory/system.slice/a.service/cgroup.procs", "");
  tree.Write("memory" + pod + "/cri-containerd-" + kContainer + ".scope/cgroup.procs", "");
  const auto found = FindPodCgroup(tree.path("memory"), kUid);
  ASSERT_TRUE(found.ok()) << found.error().message();
  EXPECT_EQ(*found, pod);
  EXPECT_EQ(FindPodCgroup(tree.path("memory"), kOther).error().code(), Code::kNotFound);
  EXPECT_EQ(FindPodCgroup(tree.path("none"), kUid).error().code(), Code::kGone);
  EXPECT_EQ(FindPodCgroup(tree.path("memory"), "../x").error().code(), Code::kInvalid);
}

TEST(FindPodCgroup, DoesNotBelieveAnotherPod) {
  const TemporaryTree tree;
  const std::string inside = "memory/kubepods/burstable/pod" + kOther + "/" + kContainer;
  tree.Write(inside + "/kubepods/pod" + kUid + "/cgroup.procs", "");
  EXPECT_EQ(FindPodCgroup(tree.path("memory"), kUid).error().code(), Code::kNotFound);
}

TEST(FindFolder, FollowsNoLinkAndGoesOnlySoDeep) {
  const TemporaryTree tree;
  tree.Write("out/target/x", "");
  tree.Write("root/a/x", "");
  std::filesystem::create_symlink(tree.path("out"), tree.path("root/link"));
  std::string deep = "root";
  for (int i = 0; i <= kWalkDepth; ++i) deep += "/d";
  tree.Write(deep + "/target/x", "");
  const auto named_target = [](const std::string& path) {
    return path.ends_with("/target") ? Visit::kFound : Visit::kDescend;
  };
  const auto found = FindFolder(tree.path("root"), "/", named_target);
  ASSERT_FALSE(found.ok()) << *found;
  EXPECT_EQ(found.error().code(), Code::kNotFound);
  EXPECT_EQ(*FindFolder(tree.path("out"), "/", named_target), "/target");
}

TEST(FindFolder, GivesUpAtItsLimit) {
  const TemporaryTree tree;
  for (int i = 0; i < 8; ++i) tree.Write("root/" + std::to_string(i) + "/x", "");
  const auto look = [&](std::size_t most) {
    const auto nothing = [](const std::string&) { return Visit::kDescend; };
    return FindFolder(tree.path("root"), "/", nothing, most).error().code();
  };
  EXPECT_EQ(look(9), Code::kNotFound) << "the root and what is in it";
  EXPECT_EQ(look(8), Code::kExhausted);
}

}  // namespace
}  // namespace ullage::host
