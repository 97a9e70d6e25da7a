// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/guest_ram.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <sstream>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

constexpr const char* kQemu =
    "55d0c0000000-55d0c0800000 r-xp 00000000 08:01 123 /usr/bin/qemu-system-x86_64\n"
    "55d0c2000000-55d0c4000000 rw-p 00000000 00:00 0 [heap]\n"
    "7f0000000000-7f0002000000 rwxp 00000000 00:00 0 \n"
    "7f1000000000-7f1030000000 rw-p 00000000 00:00 0 \n"
    "7f1030000000-7f1040000000 rw-p 00000000 00:00 0 \n"
    "7f1050000000-7f1051000000 rw-p 00000000 00:00 0 \n"
    "7f2000000000-7f2080000000 rw-s 00000000 08:01 9 /var/lib/images/disk.raw\n"
    "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";

TEST(ParseGuestRam, TakesTheLargestAnonymousMemory) {
  const auto ranges = ParseGuestRam(kQemu, Bytes::GiB(1));
  ASSERT_TRUE(ranges.ok()) << ranges.error().message();
  EXPECT_EQ(*ranges, (std::vector<AddressRange>{{0x7f1000000000, 0x7f1040000000}}))
      << "mappings that touch are one; heap, code and files are none";
}

TEST(ParseGuestRam, TakesAMemfdAndSeveralNodes) {
  const auto ranges = ParseGuestRam(
      "7f1000000000-7f1020000000 rw-s 00000000 00:01 5 /memfd:memory-backend-memfd (deleted)\n"
      "7f3000000000-7f3020000000 rw-s 00000000 00:01 6 /memfd:memory-backend-memfd (deleted)\n"
      "7f4000000000-7f4002000000 rw-p 00000000 00:00 0 \n",
      Bytes::GiB(1));
  ASSERT_TRUE(ranges.ok());
  EXPECT_EQ(ranges->size(), 2U) << "nothing beyond the guest's memory";
}

TEST(ParseGuestRam, HugePagesAreNotFound) {
  EXPECT_EQ(ParseGuestRam(kQemu, Bytes::GiB(4)).error().code(), Code::kNotFound);
  EXPECT_EQ(ParseGuestRam("", Bytes::GiB(4)).error().code(), Code::kNotFound);
}

TEST(ParseGuestRam, GarbageIsAnError) {
  for (const char* bad :
       {"\n", "pear\n", "7f1000000000-7f0000000000 rw-p 0 0 0\n",
        "7f1000000001-7f1000002000 rw-p\n",
        "ffffffffff600000-ffffffffff601000 rw-p 00000000 00:00 0 \n", "-1000 rw-p\n"}) {
    EXPECT_EQ(ParseGuestRam(bad, Bytes::MiB(1)).error().code(), Code::kInvalid) << bad;
  }
}

// A process with 32 MiB, half of them touched, in a cgroup of a fake tree.
class QemuMemoryTest : public testing::Test {
 protected:
  static constexpr std::size_t kSize = std::size_t{32} << 20;

  void SetUp() override {
    std::array<int, 2> ready{};
    ASSERT_EQ(pipe(ready.data()), 0);
    // Mapped in the child alone, else the pages would be shared with this one.
    child_ = fork();
    if (child_ == 0) {
      void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (madvise(memory, kSize, MADV_NOHUGEPAGE) != 0) _exit(1);
      for (std::size_t at = 0; at < kSize / 2; at += kPage) static_cast<char*>(memory)[at] = 1;
      if (write(ready[1], &memory, sizeof memory) < 0) _exit(1);
      for (;;) pause();
    }
    std::uint64_t address = 0;
    ASSERT_EQ(read(ready[0], &address, sizeof address), static_cast<ssize_t>(sizeof address));
    close(ready[0]);
    close(ready[1]);
    memory_ = {address, address + kSize};
    for (const char* name : {"vm", "other"}) {
      tree_.Write(std::string("cgroup/") + name + "/cgroup.procs", "");
      tree_.Write(std::string("cgroup/") + name + "/memory.current", "0\n");
    }
    // The child's own files, but for its cgroup, and for its maps without what sanitizers map.
    const std::string real = Roots().proc + "/" + std::to_string(child_);
    const std::string fake = "proc/" + std::to_string(child_);
    tree_.Write(fake + "/cgroup", "0::/vm\n");
    std::ostringstream maps;
    maps << std::hex << memory_.begin << '-' << memory_.end << " rw-p 00000000 00:00 0 \n";
    tree_.Write(fake + "/maps", maps.str());
    for (const char* name : {"stat", "pagemap"}) {
      std::filesystem::create_symlink(real + "/" + name, tree_.path(fake + "/" + name));
    }
  }
  void TearDown() override { End(); }
  void End() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    child_ = 0;
  }
  Result<std::unique_ptr<GuestMemory>> Open(const char* cgroup) {
    VmProcess vm;
    vm.pid = child_;
    vm.cgroup = tree_.path(std::string("cgroup/") + cgroup);
    vm.guest_memory = Bytes(kSize);
    return QemuMemory::Open({tree_.path("proc"), tree_.path("cgroup")}, vm);
  }
  TemporaryTree tree_;
  pid_t child_ = 0;
  AddressRange memory_;
};

TEST_F(QemuMemoryTest, SeesWhichPagesAreHeld) {
  auto opened = Open("vm");
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  EXPECT_EQ((*opened)->Ranges(), std::vector<AddressRange>{memory_});
  const auto pages = (*opened)->Pages(memory_);
  ASSERT_TRUE(pages.ok()) << pages.error().message();
  ASSERT_EQ(pages->size(), kSize / kPage);
  EXPECT_TRUE(pages->front().present() || pages->front().swapped());
  EXPECT_FALSE(pages->back().present());
  const Status advised = (*opened)->Advise({memory_}, Advice::kPageOut);
  EXPECT_TRUE(advised.ok() || advised.error().code() == Code::kDenied) << advised.error().message();
}

TEST_F(QemuMemoryTest, APidInAnotherCgroupIsAnotherProcess) {
  EXPECT_EQ(Open("other").error().code(), Code::kInvalid);
}

TEST_F(QemuMemoryTest, AProcessThatEndedIsGone) {
  auto opened = Open("vm");
  ASSERT_TRUE(opened.ok());
  End();
  EXPECT_EQ((*opened)->Pages(memory_).error().code(), Code::kGone);
  EXPECT_EQ((*opened)->Advise({memory_}, Advice::kPageOut).error().code(), Code::kGone);
}

}  // namespace
}  // namespace ullage::host
