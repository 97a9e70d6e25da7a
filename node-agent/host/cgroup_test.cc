// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup.h"

#include <gtest/gtest.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

// A living cgroup of either version, as the kernel shows it.
void WriteV2(const TemporaryTree& tree, const std::string& group) {
  tree.Write(group + "/cgroup.procs", "7\n");
  tree.Write(group + "/memory.current", "1048576\n");
  tree.Write(group + "/memory.peak", "2097152\n");
  tree.Write(group + "/memory.swap.current", "4096\n");
  tree.Write(group + "/memory.max", "max\n");
  tree.Write(group + "/memory.stat", "anon 5\nfile 9\ninactive_file 12288\nactive_file 1\n");
}
void WriteV1(const TemporaryTree& tree, const std::string& group) {
  tree.Write(group + "/cgroup.procs", "7\n");
  tree.Write(group + "/memory.usage_in_bytes", "1048576\n");
  tree.Write(group + "/memory.max_usage_in_bytes", "2097152\n");
  tree.Write(group + "/memory.limit_in_bytes", "9223372036854771712\n");
  tree.Write(group + "/memory.stat", "inactive_file 1\ntotal_inactive_file 8192\n");
}

TEST(MemoryCgroup, ReadsVersion2) {
  const TemporaryTree tree;
  WriteV2(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  ASSERT_TRUE(group.ok()) << group.error().message();
  EXPECT_EQ(group->version(), MemoryCgroup::Version::kV2);
  EXPECT_EQ(*group->Usage(), Bytes::MiB(1));
  EXPECT_EQ(**group->Peak(), Bytes::MiB(2));
  EXPECT_EQ(**group->Swap(), Bytes(4096));
  EXPECT_EQ(*group->Limit(), std::nullopt) << "max is no limit, not zero";
  EXPECT_EQ(*group->InactiveFile(), Bytes(12288));
}

TEST(MemoryCgroup, ReadsVersion1) {
  const TemporaryTree tree;
  WriteV1(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  ASSERT_TRUE(group.ok());
  EXPECT_EQ(group->version(), MemoryCgroup::Version::kV1);
  EXPECT_EQ(*group->Usage(), Bytes::MiB(1));
  EXPECT_EQ(**group->Peak(), Bytes::MiB(2));
  EXPECT_EQ(*group->Limit(), std::nullopt);
  EXPECT_EQ(*group->InactiveFile(), Bytes(8192)) << "the hierarchy's total, not the group's own";
  EXPECT_EQ(*group->Swap(), std::nullopt) << "no swap accounting is unknown";
  tree.Write("g/memory.memsw.usage_in_bytes", "1060864\n");
  EXPECT_EQ(**group->Swap(), Bytes(12288));
  tree.Write("g/memory.memsw.usage_in_bytes", "4096\n");
  EXPECT_EQ(**group->Swap(), Bytes()) << "two files, two moments: never negative";
}

TEST(MemoryCgroup, ReadsWhatHostReclaimGoesByOnVersion2) {
  const TemporaryTree tree;
  WriteV2(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  EXPECT_EQ(*group->SoftLimit(), std::nullopt) << "no file is unknown";
  EXPECT_EQ(*group->SwapLimit(), std::nullopt);
  EXPECT_EQ(group->ReadFaults()->major, std::nullopt);
  EXPECT_EQ(group->ReadFaults()->refaults, std::nullopt);
  EXPECT_FALSE(group->Pressure().ok());
  tree.Write("g/memory.high", "8192\n");
  tree.Write("g/memory.max", "65536\n");
  tree.Write("g/memory.swap.max", "0\n");
  tree.Write("g/memory.stat", "pgmajfault 7\nworkingset_refault_anon 9\n");
  tree.Write("g/memory.pressure", "some avg10=0.50\n");
  EXPECT_EQ(*group->SoftLimit(), Bytes(8192));
  EXPECT_EQ(*group->SwapLimit(), Bytes(0)) << "no swap at all is a limit";
  EXPECT_EQ(group->ReadFaults()->major, 7U);
  EXPECT_EQ(group->ReadFaults()->refaults, 9U);
  EXPECT_EQ(*group->Pressure(), "some avg10=0.50\n");
  tree.Write("g/memory.stat", "pgmajfault many\n");
  EXPECT_EQ(group->ReadFaults().error().code(), Code::kInvalid);
}

TEST(MemoryCgroup, ReadsWhatHostReclaimGoesByOnVersion1) {
  const TemporaryTree tree;
  WriteV1(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  EXPECT_EQ(*group->SoftLimit(), std::nullopt) << "v1 writes no limit as a number";
  tree.Write("g/memory.limit_in_bytes", "65536\n");
  tree.Write("g/memory.stat",
             "pgmajfault 1\ntotal_pgmajfault 7\ntotal_workingset_refault_anon 9\n");
  EXPECT_EQ(*group->SoftLimit(), Bytes(65536));
  EXPECT_EQ(*group->SwapLimit(), std::nullopt);
  EXPECT_EQ(group->ReadFaults()->major, 7U) << "the hierarchy's total, not the group's own";
  EXPECT_EQ(group->ReadFaults()->refaults, 9U);
}

TEST(MemoryCgroup, GarbageIsAnErrorAndNotZero) {
  const TemporaryTree tree;
  WriteV2(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  for (const char* bad : {"", "\n", "12x\n", "-1\n", "99999999999999999999999\n", "max\n"}) {
    tree.Write("g/memory.current", bad);
    EXPECT_EQ(group->Usage().error().code(), Code::kInvalid) << bad;
  }
  tree.Write("g/memory.current", std::string(1000, '1'));
  EXPECT_EQ(group->Usage().error().code(), Code::kInvalid) << "bounded";
  tree.Write("g/memory.peak", "what\n");
  EXPECT_EQ(group->Peak().error().code(), Code::kInvalid);
  tree.Remove("g/memory.peak");
  EXPECT_EQ(*group->Peak(), std::nullopt) << "an older kernel has none";
}

TEST(MemoryCgroup, GoneStaysGoneWhenTheNameIsTakenAgain) {
  const TemporaryTree tree;
  WriteV2(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  tree.Remove("g");
  WriteV2(tree, "g");
  EXPECT_EQ(group->Usage().error().code(), Code::kGone);
  EXPECT_EQ(group->Peak().error().code(), Code::kGone) << "an optional file too";
  const auto second = MemoryCgroup::Open(tree.path("g"));
  EXPECT_NE(second->inode(), group->inode());
}

TEST(MemoryCgroup, ReadsWhatIsChargedNow) {
  const TemporaryTree tree;
  WriteV2(tree, "g");
  const auto group = MemoryCgroup::Open(tree.path("g"));
  for (const int pages : {7, 100000, 3}) {
    tree.Write("g/memory.current", std::to_string(pages * 4096) + "\n");
    EXPECT_EQ(*group->Usage(), Bytes(pages * 4096)) << "nothing is left of a longer figure";
  }
}

TEST(MemoryCgroup, CacheIsWhatMemAvailableCounts) {
  const TemporaryTree tree;
  tree.Write("v2/memory.current", "900\n");
  tree.Write("v2/memory.stat",
             "anon 100\nfile 500\nshmem 50\ninactive_file 300\nactive_file 150\n"
             "slab_reclaimable 20\nslab_unreclaimable 10\n");
  EXPECT_EQ(*MemoryCgroup::Open(tree.path("v2"))->Cache(), Bytes(470));
  tree.Write("v1/memory.usage_in_bytes", "900\n");
  tree.Write("v1/memory.stat",
             "inactive_file 1\nactive_file 2\ntotal_inactive_file 30\ntotal_active_file 40\n");
  EXPECT_EQ(*MemoryCgroup::Open(tree.path("v1"))->Cache(), Bytes(70));
  tree.Write("v1/memory.stat", "total_inactive_file 30\n");
  EXPECT_FALSE(MemoryCgroup::Open(tree.path("v1"))->Cache().ok()) << "half of it is not it";
}

TEST(MemoryCgroup, RefusesAFolderWithoutAccounting) {
  const TemporaryTree tree;
  tree.Write("g/cgroup.procs", "");
  EXPECT_EQ(MemoryCgroup::Open(tree.path("g")).error().code(), Code::kInvalid);
  EXPECT_EQ(MemoryCgroup::Open(tree.path("h")).error().code(), Code::kGone);
}

TEST(ParseProcCgroup, PrefersTheV1MemoryLine) {
  const auto hybrid = ParseProcCgroup("9:name=systemd:/s\n4:cpu,memory:/vm:1\n0::/u\n");
  EXPECT_TRUE(hybrid->v1);
  EXPECT_EQ(hybrid->path, "/vm:1") << "a colon in the path stays";
  const auto unified = ParseProcCgroup("1:name=systemd:/s\n0::/u/scope\n");
  EXPECT_FALSE(unified->v1);
  EXPECT_EQ(unified->path, "/u/scope");
  for (const char* bad : {"", "x", "0::relative\n", "4:memory\n", ":::\n"}) {
    EXPECT_EQ(ParseProcCgroup(bad).error().code(), Code::kInvalid) << bad;
  }
}

TEST(MemoryCgroupOf, ClimbsOutOfThreadedChildren) {
  const TemporaryTree tree;
  WriteV2(tree, "cgroup/machine.slice/vm.scope");
  tree.Write("cgroup/machine.slice/vm.scope/libvirt/emulator/cgroup.procs", "");
  tree.Write("proc/7/cgroup", "0::/machine.slice/vm.scope/libvirt/emulator\n");
  const Roots roots{tree.path("proc"), tree.path("cgroup")};
  EXPECT_EQ(*MemoryCgroupOf(roots, 7), tree.path("cgroup/machine.slice/vm.scope"));
  EXPECT_EQ(MemoryCgroupOf(roots, 8).error().code(), Code::kGone);
}

TEST(MemoryCgroupOf, FindsBothHierarchiesOfAHybridMachine) {
  const TemporaryTree tree;
  WriteV1(tree, "cgroup/memory/vm");
  tree.Write("proc/7/cgroup", "4:memory:/vm\n0::/other\n");
  const Roots roots{tree.path("proc"), tree.path("cgroup")};
  EXPECT_EQ(*MemoryCgroupOf(roots, 7), tree.path("cgroup/memory/vm"));
}

TEST(MemoryCgroupOf, NeverAnswersWithAParentThatChargesEverybody) {
  const TemporaryTree tree;
  WriteV2(tree, "cgroup/machine.slice");
  WriteV1(tree, "cgroup/memory");
  const Roots roots{tree.path("proc"), tree.path("cgroup")};
  tree.Write("proc/7/cgroup", "0::/machine.slice/gone.scope\n");
  EXPECT_EQ(MemoryCgroupOf(roots, 7).error().code(), Code::kGone) << "it vanished meanwhile";
  tree.Write("proc/7/cgroup", "4:memory:/\n");
  EXPECT_EQ(MemoryCgroupOf(roots, 7).error().code(), Code::kInvalid) << "the root is nobody's own";
}

TEST(MemoryCgroupOf, RefusesAPathOutsideTheNamespace) {
  const TemporaryTree tree;
  tree.Write("proc/7/cgroup", "0::/../../kubepods/pod1\n");
  const Roots roots{tree.path("proc"), tree.path("cgroup")};
  EXPECT_EQ(MemoryCgroupOf(roots, 7).error().code(), Code::kInvalid);
}

TEST(MemoryCgroupOf, ResolvesAPathOutsideTheNamespaceFromItsRoot) {
  const TemporaryTree tree;
  WriteV2(tree, "cgroup/kubepods/burstable/pod1/c");
  WriteV2(tree, "cgroup/kubepods/burstable/pod2/c");
  Roots roots{tree.path("proc"), tree.path("cgroup")};
  roots.cgroup_namespace = "/kubepods/burstable/pod1/c";
  tree.Write("proc/7/cgroup", "0::/../../pod2/c\n");
  EXPECT_EQ(*MemoryCgroupOf(roots, 7), tree.path("cgroup/kubepods/burstable/pod2/c"));
  tree.Write("proc/7/cgroup", "0::/\n");
  EXPECT_EQ(*MemoryCgroupOf(roots, 7), tree.path("cgroup/kubepods/burstable/pod1/c"))
      << "the namespace's root is a container's own cgroup, not the host's root";
  tree.Write("proc/7/cgroup", "0::/../../../..\n");
  EXPECT_EQ(MemoryCgroupOf(roots, 7).error().code(), Code::kInvalid) << "the host's root";
  tree.Write("proc/7/cgroup", "0::/../../../../..\n");
  EXPECT_EQ(MemoryCgroupOf(roots, 7).error().code(), Code::kInvalid) << "above it";
}

TEST(ResolveCgroup, WalksAsTheKernelWrites) {
  constexpr const char* kBase = "/a/b/c";
  EXPECT_EQ(*ResolveCgroup("/", "/x/y"), "/x/y");
  EXPECT_EQ(*ResolveCgroup("/", "/"), "/");
  EXPECT_EQ(*ResolveCgroup(kBase, "/"), "/a/b/c");
  EXPECT_EQ(*ResolveCgroup(kBase, "/x"), "/a/b/c/x");
  EXPECT_EQ(*ResolveCgroup(kBase, "/.."), "/a/b");
  EXPECT_EQ(*ResolveCgroup(kBase, "/../../x/y"), "/a/x/y");
  EXPECT_EQ(*ResolveCgroup(kBase, "/../../.."), "/");
  EXPECT_EQ(*ResolveCgroup(kBase, "/../../../x (deleted)"), "/x (deleted)");
  EXPECT_EQ(*ResolveCgroup(kBase, "/..x"), "/a/b/c/..x") << "only a name";
  for (const char* bad : {"", "x", "../x", "/../../../..", "/../../../../x", "/x/..", "/../x/../y",
                          "//", "/x//y", "/x/", "/../", "/.", "/./x"}) {
    EXPECT_EQ(ResolveCgroup(kBase, bad).error().code(), Code::kInvalid) << bad;
  }
  EXPECT_EQ(ResolveCgroup("/", "/../x").error().code(), Code::kInvalid);
}

TEST(ParseMembers, TakesPidsOnly) {
  EXPECT_TRUE(ParseMembers("")->empty());
  EXPECT_EQ(*ParseMembers("7\n4194304\n"), (std::vector<std::int32_t>{7, 4194304}));
  EXPECT_EQ(*ParseMembers("0\n7\n0\n"), std::vector<std::int32_t>{7})
      << "those of a pid namespace that is not seen";
  for (const char* bad : {"x\n", "-1\n", "7 8\n", "\n", "2147483648\n"}) {
    EXPECT_EQ(ParseMembers(bad).error().code(), Code::kInvalid) << bad;
  }
}

TEST(CgroupMembers, ReadsThemOfOneFolder) {
  const TemporaryTree tree;
  tree.Write("g/cgroup.procs", "7\n8\n");
  tree.Write("g/below/cgroup.procs", "9\n");
  EXPECT_EQ(CgroupMembers(tree.path("g"))->size(), 2U);
  EXPECT_EQ(CgroupMembers(tree.path("h")).error().code(), Code::kGone);
  tree.Write("g/cgroup.procs", std::string(1 << 20, '1'));
  EXPECT_EQ(CgroupMembers(tree.path("g")).error().code(), Code::kInvalid) << "bounded";
}

TEST(ParseKeyed, FindsTheKeyItself) {
  constexpr const char* kText = "MemTotal:       2048 kB\nMemFree: 7 kB\nMemFreeX: 9 kB\nanon 5\n";
  EXPECT_EQ(*ParseKeyed(kText, "MemTotal"), Bytes::MiB(2));
  EXPECT_EQ(*ParseKeyed(kText, "MemFree"), Bytes::KiB(7));
  EXPECT_EQ(*ParseKeyed(kText, "anon"), Bytes(5));
  EXPECT_EQ(ParseKeyed(kText, "Mem").error().code(), Code::kNotFound);
  EXPECT_EQ(ParseKeyed("anon x\n", "anon").error().code(), Code::kInvalid);
  EXPECT_EQ(ParseKeyed("anon    \n", "anon").error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace ullage::host
