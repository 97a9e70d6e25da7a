// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup_namespace.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

const std::string kUid = "460c5c93-8784-4c49-862e-0612f852352e";
const std::string kPod = "/kubepods/burstable/pod" + kUid;
const std::string kOtherPod = "/kubepods/burstable/pod11111111-2222-4333-8444-555555555555";

class CgroupNamespace : public ::testing::Test {
 protected:
  // Process 7 as it sees itself in its namespace, and where the host has it.
  void Write(const std::string& seen, const std::string& real) const {
    tree_.Write("proc/7/cgroup", seen);
    tree_.Write("cgroup" + real + "/cgroup.procs", "6\n7\n");
  }
  std::string Root() const {
    const auto root = CgroupNamespaceRoot(roots_, kUid, 7);
    return root ? *root : std::string(Name(root.error().code())) + ": " + root.error().message();
  }
  TemporaryTree tree_;
  Roots roots_{tree_.path("proc"), tree_.path("cgroup")};
};

TEST_F(CgroupNamespace, IsTheContainersOwnCgroup) {
  Write("0::/\n", kPod + "/own");
  tree_.Write("cgroup" + kPod + "/another/cgroup.procs", "8\n");
  EXPECT_EQ(Root(), kPod + "/own");
}

TEST_F(CgroupNamespace, IsFoundInAnyDepth) {
  Write("0::/\n", kPod + "/crio-1.scope/container");
  EXPECT_EQ(Root(), kPod + "/crio-1.scope/container");
}

TEST_F(CgroupNamespace, IsTheHostsWhereBothSayTheSame) {
  Write("0::" + kPod + "/own\n", kPod + "/own");
  EXPECT_EQ(Root(), "/");
}

TEST_F(CgroupNamespace, IsAboveAProcessThatWentDown) {
  Write("0::/init\n", kPod + "/own/init");
  EXPECT_EQ(Root(), kPod + "/own");
}

TEST_F(CgroupNamespace, IsOfTheHierarchyThatCountsMemory) {
  Write("4:memory:/\n0::" + kPod + "/elsewhere\n", "/memory" + kPod + "/own");
  EXPECT_EQ(Root(), kPod + "/own");
}

TEST_F(CgroupNamespace, SaysWhatDoesNotFit) {
  Write("0::/stranger\n", kPod + "/own");
  EXPECT_THAT(Root(), HasSubstr("invalid: "));
  EXPECT_THAT(Root(), HasSubstr("/stranger"));
  tree_.Write("cgroup" + kPod + "/own/cgroup.procs", "8\n");
  EXPECT_THAT(Root(), HasSubstr("not found: process 7 in the cgroup of pod " + kUid));
  tree_.Remove("cgroup" + kPod);
  EXPECT_THAT(Root(), HasSubstr("not found: the cgroup of pod " + kUid));
  tree_.Remove("cgroup");
  EXPECT_THAT(Root(), HasSubstr("gone: the host's cgroups"));
  EXPECT_EQ(CgroupNamespaceRoot(roots_, kUid, 9).error().code(), Code::kGone);
}

// What the kernel itself writes, of either hierarchy that this machine has mounted.

// Cgroups of this test's, below `root`; all that it made are removed with it.
class RealCgroup {
 public:
  explicit RealCgroup(std::string root) : root_(std::move(root)) {}
  RealCgroup(const RealCgroup&) = delete;
  RealCgroup& operator=(const RealCgroup&) = delete;
  ~RealCgroup() {
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) {
      // It takes a moment after the last process has ended.
      for (int i = 0; i < 100 && rmdir(path->c_str()) != 0 && errno == EBUSY; ++i) usleep(20000);
    }
  }
  bool Make(const std::string& path) {
    for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
      const std::string folder = root_ + path.substr(0, at);
      if (mkdir(folder.c_str(), 0755) == 0) {
        made_.push_back(folder);
      } else if (errno != EEXIST) {
        return false;
      }
      if (at == std::string::npos) return true;
    }
  }

 private:
  std::string root_;
  std::vector<std::string> made_;
};

bool Send(int pipe, const std::string& text) {
  return write(pipe, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool Join(const std::string& cgroup) {
  const int procs = open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  if (procs < 0) return false;
  const bool joined = write(procs, "0", 1) == 1;
  close(procs);
  return joined;
}

// A process in a cgroup, in a cgroup namespace of its own when asked for. It says what it reads in
// /proc/PID/cgroup of itself and of `other`, one after the other, and stays until it is killed.
class Inhabitant {
 public:
  Inhabitant(const std::string& cgroup, bool own_namespace, pid_t other) {
    int ends[2] = {-1, -1};
    if (pipe(ends) != 0) std::abort();
    const pid_t us = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const bool in = Join(cgroup) && (!own_namespace || unshare(CLONE_NEWCGROUP) == 0);
      const std::string proc = Roots().proc + "/";
      const auto self = ReadFile(proc + std::to_string(getpid()) + "/cgroup", 1 << 16);
      const auto theirs =
          ReadFile(proc + std::to_string(other != 0 ? other : us) + "/cgroup", 1 << 16);
      Send(ends[1], in && self && theirs ? *self + '\0' + *theirs + '\0' : std::string(2, '\0'));
      for (;;) pause();
    }
    close(ends[1]);
    char c = 0;
    while (said_.size() < 2 && read(ends[0], &c, 1) == 1) {
      if (c == '\0') {
        said_.push_back(std::exchange(current_, {}));
      } else {
        current_ += c;
      }
    }
    close(ends[0]);
    said_.resize(2);
  }
  Inhabitant(const Inhabitant&) = delete;
  Inhabitant& operator=(const Inhabitant&) = delete;
  ~Inhabitant() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  const std::string& self() const { return said_[0]; }
  const std::string& other() const { return said_[1]; }

 private:
  pid_t pid_ = -1;
  std::string current_;
  std::vector<std::string> said_;
};

// The line of one hierarchy: the test decides which one is looked at, not the machine.
std::string Only(const std::string& text, bool v1) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (v1 ? line.find(":memory:") != std::string_view::npos : line.starts_with("0::")) {
      return std::string(line) + "\n";
    }
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return {};
}

class RealNamespace : public ::testing::TestWithParam<bool> {};

TEST_P(RealNamespace, ResolvesWhatTheKernelWrites) {
  const bool v1 = GetParam();
  const std::string hierarchy = MemoryRoot(Roots(), v1);
  if (access((hierarchy + "/cgroup.procs").c_str(), W_OK) != 0) {
    GTEST_SKIP() << "no such hierarchy that may be written to at " << hierarchy;
  }
  const std::string prefix = "/ullage-test-" + std::to_string(getpid());
  RealCgroup cgroups(hierarchy);
  if (!cgroups.Make(prefix + kPod + "/own") || !cgroups.Make(prefix + kOtherPod + "/qemu")) {
    GTEST_SKIP() << "may not make cgroups: run as root";
  }
  const Inhabitant qemu(hierarchy + prefix + kOtherPod + "/qemu", false, 0);
  const Inhabitant agent(hierarchy + prefix + kPod + "/own", true, qemu.pid());
  ASSERT_THAT(Only(agent.self(), v1), EndsWith(":/\n")) << "it is in a namespace of its own";
  EXPECT_THAT(Only(agent.other(), v1), HasSubstr("/.."));

  // The kernel's own words in a tree like its own, and the kernel's own hierarchy.
  const TemporaryTree tree;
  tree.Write("proc/" + std::to_string(agent.pid()) + "/cgroup", Only(agent.self(), v1));
  Roots roots{tree.path("proc"), Roots().cgroup};
  const auto root = CgroupNamespaceRoot(roots, kUid, agent.pid());
  ASSERT_TRUE(root.ok()) << root.error().message();
  EXPECT_EQ(*root, prefix + kPod + "/own");
  roots.cgroup_namespace = *root;
  const auto found = LocateCgroup(roots, Only(agent.other(), v1));
  ASSERT_TRUE(found.ok()) << found.error().message();
  EXPECT_EQ(found->path, prefix + kOtherPod + "/qemu");
  EXPECT_EQ(found->v1, v1);
}

INSTANTIATE_TEST_SUITE_P(Hierarchies, RealNamespace, ::testing::Values(true, false),
                         [](const auto& test) { return test.param ? "V1" : "V2"; });

}  // namespace
}  // namespace ullage::host
