// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/kubelet_bounds.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

using testing::HasSubstr;

constexpr const char* kUid = "3f0c5c1e-0000-4000-8000-00000000000a";

std::string InBytes(int mib) { return std::to_string(Bytes::MiB(mib).count()) + "\n"; }

class KubeletBoundsTest : public testing::Test {
 protected:
  void Own(const std::string& cgroup) {
    tree_.Write("proc/" + std::to_string(getpid()) + "/cgroup", cgroup);
  }
  // A machine of 4,000 MiB with 1,000 free.
  HostSample Read(Bytes threshold = Bytes::MiB(100)) {
    HostSample sample;
    sample.total = Bytes::MiB(4000);
    sample.available = Bytes::MiB(3000);
    sample.free = Bytes::MiB(1000);
    KubeletBounds bounds({tree_.path("proc"), tree_.path("cgroup")}, threshold);
    bounds.Read(sample);
    return sample;
  }
  void WriteV1() {
    Own(std::string("9:memory:/kubepods/burstable/pod") + kUid + "/c\n0::/\n");
    WriteV1("", 2600, 400, "9223372036854771712\n");
    WriteV1("kubepods/", 1500, 200, InBytes(3000));
  }
  void WriteV1(const std::string& group, int usage, int inactive, const std::string& limit) {
    const std::string folder = "cgroup/memory/" + group;
    tree_.Write(folder + "cgroup.procs", "");
    tree_.Write(folder + "memory.usage_in_bytes", InBytes(usage));
    tree_.Write(folder + "memory.limit_in_bytes", limit);
    tree_.Write(folder + "memory.stat",
                "inactive_file 0\ntotal_inactive_file " + InBytes(inactive));
  }
  void WriteV2(const std::string& limit) {
    Own("0::/kubepods.slice/kubepods-pod3f0c5c1e_0000_4000_8000_00000000000a.slice/cri-c.scope\n");
    tree_.Write("cgroup/memory.stat", "inactive_file " + InBytes(500));
    const std::string folder = "cgroup/kubepods.slice/";
    tree_.Write(folder + "cgroup.procs", "");
    tree_.Write(folder + "memory.current", InBytes(1500));
    tree_.Write(folder + "memory.max", limit);
    tree_.Write(folder + "memory.stat", "inactive_file " + InBytes(100));
  }
  host::TemporaryTree tree_;
};

TEST_F(KubeletBoundsTest, AreWhatTheKubeletSeesOnV1) {
  WriteV1();
  const HostSample sample = Read();
  EXPECT_EQ(sample.fault, "");
  EXPECT_EQ(sample.until_eviction, Bytes::MiB(4000 - (2600 - 400) - 100));
  EXPECT_EQ(sample.pods_left, Bytes::MiB(3000 - (1500 - 200)));
}

TEST_F(KubeletBoundsTest, AreWhatTheKubeletSeesOnV2) {
  WriteV2(InBytes(3000));
  const HostSample sample = Read();
  EXPECT_EQ(sample.fault, "");
  EXPECT_EQ(sample.until_eviction, Bytes::MiB(1000 + 500 - 100));
  EXPECT_EQ(sample.pods_left, Bytes::MiB(3000 - (1500 - 100)));
}

TEST_F(KubeletBoundsTest, NoLimitIsNoBound) {
  WriteV2("max\n");
  EXPECT_EQ(Read().pods_left, std::nullopt);
  EXPECT_EQ(Read().fault, "");
}

TEST_F(KubeletBoundsTest, AKubeletThatDoesNotEvictIsNoBound) {
  WriteV2("max\n");
  EXPECT_EQ(Read(Bytes()).until_eviction, std::nullopt);
  EXPECT_EQ(Read(Bytes()).fault, "");
}

TEST_F(KubeletBoundsTest, PastTheThresholdItIsBelowZero) {
  WriteV1();
  WriteV1("", 4200, 100, "9223372036854771712\n");
  EXPECT_EQ(Read().until_eviction, Bytes::MiB(-200));
}

TEST_F(KubeletBoundsTest, OutsideAPodNoKubepodsIsKnown) {
  WriteV2(InBytes(3000));
  Own("0::/user.slice\n");
  const HostSample sample = Read();
  EXPECT_EQ(sample.pods_left, std::nullopt);
  EXPECT_EQ(sample.until_eviction, Bytes::MiB(1400));
  EXPECT_EQ(sample.fault, "");
}

TEST_F(KubeletBoundsTest, ALostFolderOfAllPodsIsLookedForFromWhereThisPodIs) {
  WriteV2(InBytes(3000));
  KubeletBounds bounds({tree_.path("proc"), tree_.path("cgroup")}, Bytes::MiB(100));
  const auto read = [&] {
    HostSample sample;
    sample.total = Bytes::MiB(4000);
    sample.free = Bytes::MiB(1000);
    bounds.Read(sample);
    return sample.pods_left;
  };
  EXPECT_EQ(read(), Bytes::MiB(3000 - (1500 - 100)));
  tree_.Remove("cgroup/kubepods.slice");
  EXPECT_EQ(read(), std::nullopt);
  WriteV2(InBytes(2000));
  EXPECT_EQ(read(), Bytes::MiB(2000 - (1500 - 100)));
  tree_.Remove("cgroup/kubepods.slice");
  EXPECT_EQ(read(), std::nullopt);
  WriteV2(InBytes(2000));
  Own("0::/user.slice\n");
  EXPECT_EQ(read(), std::nullopt) << "in no pod";
}

TEST_F(KubeletBoundsTest, WhatCannotBeReadIsNamedAndTheRestIsKnown) {
  WriteV2(InBytes(3000));
  tree_.Write("cgroup/kubepods.slice/memory.current", "pear\n");
  HostSample sample = Read();
  EXPECT_EQ(sample.pods_left, std::nullopt);
  EXPECT_EQ(sample.until_eviction, Bytes::MiB(1400));
  EXPECT_THAT(sample.fault, HasSubstr("memory.current"));
  EXPECT_EQ(sample.available, Bytes::MiB(3000));
  WriteV2(InBytes(3000));
  tree_.Write("cgroup/memory.stat", "anon 1\n");
  sample = Read();
  EXPECT_EQ(sample.until_eviction, std::nullopt);
  EXPECT_TRUE(sample.pods_left);
  EXPECT_THAT(sample.fault, HasSubstr("inactive_file"));
}

}  // namespace
}  // namespace ullage::sources
