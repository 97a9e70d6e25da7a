// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/cgroup_reclaim.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "node-agent/host/file.h"
#include "node-agent/host/temporary_tree.h"
#include "node-agent/model/time.h"

namespace ullage::host {
namespace {

TEST(ReclaimFrom, AsksForAnAmountWhereThereIsAFileForIt) {
  const TemporaryTree tree;
  tree.Write("vm/memory.current", "4194304\n");
  EXPECT_EQ(ReclaimFrom(tree.path("vm"), Bytes::MiB(1)).error().code(), Code::kGone);
  tree.Write("vm/memory.reclaim", "");
  EXPECT_EQ(*ReclaimFrom(tree.path("vm"), Bytes::MiB(1)), Bytes(0)) << "a file takes nothing";
  EXPECT_EQ(*ReadFile(tree.path("vm/memory.reclaim"), 64), "1048576");
}

TEST(ReclaimFrom, EmptiesWhereThereIsNoAmount) {
  const TemporaryTree tree;
  EXPECT_EQ(ReclaimFrom(tree.path("vm"), Bytes::MiB(1)).error().code(), Code::kGone);
  tree.Write("vm/memory.usage_in_bytes", "4194304\n");
  EXPECT_EQ(ReclaimFrom(tree.path("vm"), Bytes::MiB(1)).error().code(), Code::kGone);
  tree.Write("vm/memory.force_empty", "");
  EXPECT_EQ(*ReclaimFrom(tree.path("vm"), Bytes::MiB(1)), Bytes(0));
  EXPECT_EQ(*ReadFile(tree.path("vm/memory.force_empty"), 64), "0");
}

// A kernel that goes on taking: a full pipe holds the write up in the same way.
class EndlessReclaim : public testing::Test {
 protected:
  EndlessReclaim() {
    tree_.Write("vm/memory.usage_in_bytes", "4194304\n");
    const std::string path = tree_.path("vm/memory.force_empty");
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    pipe_ = Fd(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    const std::string page(4096, '0');
    while (write(pipe_.get(), page.data(), page.size()) > 0) {
    }
    while (write(pipe_.get(), page.data(), 1) > 0) {
    }
  }
  TemporaryTree tree_;
  Fd pipe_;
};

TEST_F(EndlessReclaim, EndsOnceEnoughIsTaken) {
  const auto began = std::chrono::steady_clock::now();
  Result<Bytes> taken = Bytes(0);
  {
    const std::jthread reclaim([&] { taken = ReclaimFrom(tree_.path("vm"), Bytes::MiB(1)); });
    std::this_thread::sleep_for(milliseconds(100));
    const Fd usage(open(tree_.path("vm/memory.usage_in_bytes").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(pwrite(usage.get(), "3145728", 7, 0), 7);
  }
  ASSERT_TRUE(taken.ok()) << taken.error().message();
  // A machine may be so busy that its second was over before.
  if (std::chrono::steady_clock::now() - began < seconds(1)) {
    EXPECT_EQ(*taken, Bytes::MiB(1));
  }
}

TEST_F(EndlessReclaim, EndsAfterAWhile) {
  EXPECT_EQ(*ReclaimFrom(tree_.path("vm"), Bytes::MiB(1)), Bytes(0));
}

}  // namespace
}  // namespace ullage::host
