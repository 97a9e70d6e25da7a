// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/process.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

std::string Stat(const std::string& name, const std::string& parent, const std::string& start,
                 const std::string& state = "S") {
  return "7 (" + name + ") " + state + " " + parent +
         " 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " + start + " 5 6\n";
}

TEST(ParseProcStat, FindsTheFieldsBehindAnyName) {
  for (const std::string name : {"qemu-system-x86", "a b", "a) S 1 (b", ")", "", "\n", "x\xff"}) {
    const auto stat = ParseProcStat(Stat(name, "42", "123456789012"));
    ASSERT_TRUE(stat.ok()) << name << ": " << stat.error().message();
    EXPECT_EQ(stat->state, 'S');
    EXPECT_EQ(stat->parent, 42);
    EXPECT_EQ(stat->start, 123456789012U);
  }
}

TEST(ParseProcStat, RefusesGarbage) {
  for (const std::string& bad :
       {std::string(), std::string("7 (x"), std::string("7 (x)"), std::string("7 (x) S"),
        std::string("7 (x) S 1"), std::string("7 (x) S 1 2 3 4\n"), Stat("x", "-1", "5"),
        Stat("x", "2147483648", "5"), Stat("x", "1", "-5"), Stat("x", "1", ""),
        Stat("x", "1", "5", "SS"), Stat("x", "1", "99999999999999999999")}) {
    EXPECT_EQ(ParseProcStat(bad).error().code(), Code::kInvalid) << bad;
  }
}

TEST(ProgramName, IsTheLastPartOfTheLink) {
  EXPECT_EQ(ProgramName("/usr/bin/qemu-system-x86_64"), "qemu-system-x86_64");
  EXPECT_EQ(ProgramName("/usr/libexec/qemu-kvm (deleted)"), "qemu-kvm");
  EXPECT_EQ(ProgramName("qemu-kvm"), "qemu-kvm");
  EXPECT_EQ(ProgramName("/"), "");
  EXPECT_EQ(ProgramName(""), "");
}

TEST(OptionIn, TakesTheWholeFirstPartOfTheNextArgument) {
  using namespace std::string_literals;
  const std::string cmdline = "qemu\0-name\0guest=ns_vm,debug-threads=on\0-uuid\0u\0"s;
  EXPECT_TRUE(OptionIn(cmdline, "-name", "guest=ns_vm"));
  EXPECT_TRUE(OptionIn(cmdline, "-uuid", "u"));
  EXPECT_FALSE(OptionIn(cmdline, "-name", "guest=ns_v")) << "another VM's name may begin the same";
  EXPECT_FALSE(OptionIn(cmdline, "-name", "guest=ns_vm2"));
  EXPECT_FALSE(OptionIn(cmdline, "-uuid", "guest=ns_vm"));
  EXPECT_FALSE(OptionIn("qemu\0-x\0-name\0"s, "-name", "")) << "nothing follows";
  EXPECT_FALSE(OptionIn("", "-name", ""));
}

TEST(Process, ReadsThisOne) {
  const auto self = Process::Open(Roots(), getpid());
  ASSERT_TRUE(self.ok()) << self.error().message();
  EXPECT_EQ(self->pid(), getpid());
  EXPECT_EQ(self->parent(), getppid());
  EXPECT_GT(self->start(), 0U);
  EXPECT_TRUE(self->Runs().ok());
  const auto program = self->Executable();
  ASSERT_TRUE(program.ok()) << program.error().message();
  EXPECT_EQ(*program, "host_test");
}

TEST(Process, OneThatEndedIsGoneBeforeAndAfterItIsWaitedFor) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  const auto process = Process::Open(Roots(), child);
  ASSERT_TRUE(process.ok()) << process.error().message();
  EXPECT_EQ(process->parent(), getpid());
  EXPECT_TRUE(process->Runs().ok());
  kill(child, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(process->Runs().error().code(), Code::kGone) << "not yet waited for";
  EXPECT_EQ(Process::Open(Roots(), child).error().code(), Code::kGone);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(process->Runs().error().code(), Code::kGone);
  EXPECT_EQ(process->Executable().error().code(), Code::kGone);
  EXPECT_EQ(process->HasOption("-name", "x").error().code(), Code::kGone);
}

TEST(Process, AnotherOneOfTheSameNumberIsAnother) {
  const TemporaryTree tree;
  const Roots roots{tree.path("proc"), tree.path("cgroup")};
  tree.Write("proc/7/stat", Stat("a", "1", "100"));
  const auto process = Process::Open(roots, 7);
  ASSERT_TRUE(process.ok());
  EXPECT_TRUE(process->Runs().ok());
  tree.Write("proc/7/stat", Stat("a", "1", "101"));
  EXPECT_EQ(process->Runs().error().code(), Code::kGone);
  EXPECT_EQ(Process::Open(roots, 8).error().code(), Code::kGone);
  tree.Write("proc/7/stat", "pear");
  EXPECT_EQ(Process::Open(roots, 7).error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace ullage::host
