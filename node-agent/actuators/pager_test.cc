// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/pager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>

#include "node-agent/host/fake_guest_memory.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::actuators {
namespace {

using host::FakeGuestMemory;

constexpr std::size_t kPages = 32768;  // 128 MiB

bool Eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 6000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

// A guest whose swapped pages show as such.
class Guest final : public FakeGuestMemory {
 public:
  explicit Guest(std::atomic<std::size_t>& all_aged)
      : FakeGuestMemory(kPages), all_aged_(all_aged) {}
  Status Advise(const std::vector<host::AddressRange>& ranges, host::Advice advice) override {
    Status advised = FakeGuestMemory::Advise(ranges, advice);
    all_aged_ += std::exchange(aged, 0);
    return advised;
  }
  Result<std::vector<host::PageEntry>> Pages(host::AddressRange range) override {
    auto entries = FakeGuestMemory::Pages(range);
    for (std::size_t i = 0; entries.ok() && i < entries->size(); ++i) {
      if (!(*entries)[i].present()) (*entries)[i].bits = std::uint64_t{1} << 62;
    }
    return entries;
  }

 private:
  std::atomic<std::size_t>& all_aged_;
};

class PagerTest : public testing::Test {
 protected:
  host::VmProcess Vm(const char* id) {
    host::VmProcess vm;
    vm.id.value = id;
    vm.pid = 7;
    vm.cgroup = tree_.path("cgroup");
    return vm;
  }
  // Its first 64 MiB are cold, by blocks of 2 MiB, each named once.
  Result<std::vector<host::AddressRange>> TakeCold(Bytes amount) {
    std::vector<host::AddressRange> ranges;
    for (Bytes sum; sum < amount && named_ < 32; sum += Bytes::MiB(2)) {
      const std::uint64_t begin = FakeGuestMemory::kBegin + (named_++ << 21);
      ranges.push_back({begin, begin + (1 << 21)});
    }
    return ranges;
  }
  host::TemporaryTree tree_;
  std::uint64_t named_ = 0;
  std::atomic<bool> stays_ = false;
  std::atomic<bool> unwatched_ = false;
  std::atomic<std::size_t> aged_ = 0;
  Pager pager_{[this](const host::VmProcess& vm) -> Result<std::unique_ptr<host::GuestMemory>> {
                 if (vm.id.value == "lost") return Error(Code::kGone, "ended");
                 auto guest = std::make_unique<Guest>(aged_);
                 guest->stays = stays_;
                 return std::unique_ptr<host::GuestMemory>(std::move(guest));
               },
               [this](const VmId&, Bytes amount) -> Result<std::vector<host::AddressRange>> {
                 if (unwatched_) return Error(Code::kNotFound, "not watched");
                 return TakeCold(amount);
               }};
};

TEST_F(PagerTest, TakesWhatIsColdAndNoMore) {
  pager_.Know({Vm("a")});
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(40)).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().taken == Bytes::MiB(40); }));
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::GiB(1)).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().taken == Bytes::MiB(64); }));
  EXPECT_EQ(pager_.Counts().stayed, Bytes(0));
  EXPECT_EQ(pager_.Counts().failures, 0U);
  EXPECT_EQ(pager_.Fault({"a"}), "");
}

TEST_F(PagerTest, FetchesWhatItTook) {
  pager_.Know({Vm("a")});
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(10)).ok());
  ASSERT_TRUE(Eventually([&] { return pager_.Counts().taken == Bytes::MiB(10); }));
  ASSERT_TRUE(pager_.Fetch({"a"}).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().fetched == Bytes::MiB(10); }));
}

TEST_F(PagerTest, WhatTheKernelKeepsIsCountedAndNotTriedForEver) {
  stays_ = true;
  pager_.Know({Vm("a")});
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(64)).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().failures == 1; }));
  EXPECT_EQ(pager_.Counts().stayed, Bytes::MiB(32)) << "one step";
  EXPECT_EQ(pager_.Counts().taken, Bytes(0));
  EXPECT_NE(pager_.Fault({"a"}), "");
}

TEST_F(PagerTest, WishesForTheUnknownAreRefusedAndFailuresCounted) {
  EXPECT_EQ(pager_.PageOut({"a"}, Bytes::MiB(1)).error().code(), Code::kNotFound);
  EXPECT_EQ(pager_.Fetch({"a"}).error().code(), Code::kNotFound);
  pager_.Know({Vm("lost")});
  ASSERT_TRUE(pager_.PageOut({"lost"}, Bytes::MiB(1)).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Fault({"lost"}) == "ended"; }));
  ASSERT_TRUE(pager_.Fetch({"lost"}).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().failures == 2; }));
}

TEST_F(PagerTest, WhereNoProbeLooksTheKernelChooses) {
  unwatched_ = true;
  tree_.Write("cgroup/memory.current", "4194304\n");
  tree_.Write("cgroup/memory.reclaim", "");
  const auto asked = [&] {
    EXPECT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(2)).ok());
    return Eventually([&] {
      return host::ReadFile(tree_.path("cgroup/memory.reclaim"), 64).value() == "2097152";
    });
  };
  pager_.Know({Vm("a")});
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(1)).ok());
  EXPECT_TRUE(Eventually([&] { return aged_ == kPages; }));
  EXPECT_EQ(*host::ReadFile(tree_.path("cgroup/memory.reclaim"), 64), "")
      << "first what its pages were used for is forgotten";
  EXPECT_TRUE(asked());
  EXPECT_EQ(aged_, kPages) << "once";
  tree_.Remove("cgroup");
  ASSERT_TRUE(pager_.PageOut({"a"}, Bytes::MiB(1)).ok());
  EXPECT_TRUE(Eventually([&] { return pager_.Counts().failures == 1; })) << "no such cgroup";
}

}  // namespace
}  // namespace ullage::actuators
