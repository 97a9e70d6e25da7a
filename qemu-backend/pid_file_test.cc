// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/pid_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::qemu {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kUuid = "c603ed64-d0b7-4f35-a6a0-d165a62454c9";

class PidFile : public ::testing::Test {
 protected:
  PidFile() {
    tree_.Write("run/.keep", "");
    roots_.proc = tree_.path("proc");
  }
  void Process(int pid, const std::string& uuid) const {
    std::string cmdline = "/usr/bin/qemu-system-x86_64";
    for (const std::string& part : {std::string("-uuid"), uuid, std::string("-m")}) {
      cmdline += '\0' + part;
    }
    tree_.Write("proc/" + std::to_string(pid) + "/cmdline", cmdline + '\0');
  }
  Result<std::int32_t> Find(const std::string& name) const {
    return FindQemu(tree_.path("run"), roots_, {kUuid, name, 1});
  }

  host::TemporaryTree tree_;
  host::Roots roots_;
};

TEST_F(PidFile, FindsTheProcess) {
  tree_.Write("run/a b.pid", "4711\n");
  Process(4711, kUuid);
  const auto pid = Find("a b");
  ASSERT_TRUE(pid.ok()) << pid.error().message();
  EXPECT_EQ(*pid, 4711);
}

TEST_F(PidFile, TakesAnyBytesForAName) {
  tree_.Write("run/caf\xE9.pid", "12");
  Process(12, kUuid);
  EXPECT_TRUE(Find("caf\xE9").ok());
  EXPECT_THAT(Find("n\xF8pe\x1B").error().message(), HasSubstr("\\xf8pe\\x1b"));
}

TEST_F(PidFile, RefusesNamesThatWalk) {
  tree_.Write("x.pid", "4711");
  Process(4711, kUuid);
  for (const std::string& name :
       {std::string(""), std::string("."), std::string(".."), std::string("../x"),
        std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_EQ(Find(name).error().code(), Code::kInvalid) << name;
  }
}

TEST_F(PidFile, RefusesAReusedPid) {
  tree_.Write("run/vm.pid", "4711");
  Process(4711, "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(Find("vm").error().code(), Code::kGone);
  Process(4711, std::string("guest=") + kUuid);  // somebody who only talks about it
  EXPECT_EQ(Find("vm").error().code(), Code::kGone);
  tree_.Write("proc/4711/cmdline", "");  // a zombie
  EXPECT_EQ(Find("vm").error().code(), Code::kGone);
  tree_.Remove("proc/4711");
  EXPECT_EQ(Find("vm").error().code(), Code::kGone);
}

TEST_F(PidFile, RefusesGarbage) {
  for (const char* text : {"", "x", "0", "-1", "4711 ", "99999999999", "\x1B[2J"}) {
    tree_.Write("run/vm.pid", text);
    const auto pid = Find("vm");
    ASSERT_FALSE(pid.ok()) << text;
    EXPECT_EQ(pid.error().code(), Code::kInvalid);
    EXPECT_THAT(pid.error().message(), Not(HasSubstr("\x1B")));
  }
  EXPECT_EQ(Find("none").error().code(), Code::kGone);
}

TEST_F(PidFile, NobodyRunsWhereThereIsNone) {
  EXPECT_TRUE(NobodyRuns(tree_.path("run")));
  EXPECT_TRUE(NobodyRuns(tree_.path("not-there"))) << "libvirt never ran in this boot";
  tree_.Write("run/driver.pid", "1");
  EXPECT_TRUE(NobodyRuns(tree_.path("run"))) << "libvirt's own";
  tree_.Write("run/vm.pid", "2");
  EXPECT_FALSE(NobodyRuns(tree_.path("run")));
  EXPECT_FALSE(NobodyRuns(tree_.path("run/vm.pid"))) << "what cannot be read proves nothing";
}

}  // namespace
}  // namespace ullage::qemu
