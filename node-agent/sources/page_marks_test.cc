// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/page_marks.h"

#include <gtest/gtest.h>

#include "node-agent/host/fake_guest_memory.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

using host::FakeGuestMemory;

std::uint64_t Page(std::uint64_t page) { return FakeGuestMemory::kBegin + page * host::kPage; }

// A file as large as the bitmap of a small machine. What the kernel does with it is not here: it
// sets the bits that are 1, of whole and first pages, and clears those of pages that were used.
class IdleMarksTest : public testing::Test {
 protected:
  IdleMarksTest() {
    tree_.Write("mm/page_idle/bitmap", std::string(64, '\0'));
    roots_.mm = tree_.path("mm");
  }
  std::string Bitmap() { return *host::ReadFile(tree_.path("mm/page_idle/bitmap"), 64); }
  host::TemporaryTree tree_;
  host::Roots roots_;
};

TEST_F(IdleMarksTest, MarksTheFrameOfAPage) {
  auto opened = IdleMarks::Open(roots_);
  if (!opened && opened.error().code() == Code::kDenied) GTEST_SKIP() << opened.error().message();
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  PageMarks& marks = **opened;
  FakeGuestMemory memory(300);
  memory.held[7] = false;
  ASSERT_TRUE(marks.Set(memory, {Page(5), Page(7), Page(30)}).ok());
  std::string expected(64, '\0');
  expected[105 / 8] = 1 << 105 % 8;
  expected[130 / 8] = 1 << 130 % 8;
  EXPECT_EQ(Bitmap(), expected);
  EXPECT_EQ(*marks.Stand(memory, {Page(5), Page(6), Page(7), Page(30)}),
            (std::vector<bool>{true, false, false, true}));
  tree_.Write("mm/page_idle/bitmap", std::string(64, '\0'));
  EXPECT_EQ(*marks.Stand(memory, {Page(5), Page(250)}), (std::vector<bool>{false, false}))
      << "also where the bitmap ends";
  memory.frames = false;
  EXPECT_EQ(marks.Set(memory, {Page(5)}).error().code(), Code::kDenied);
}

TEST_F(IdleMarksTest, AKernelWithoutItHasNone) {
  tree_.Remove("mm/page_idle");
  EXPECT_EQ(IdleMarks::Open(roots_).error().code(), Code::kGone);
}

TEST_F(IdleMarksTest, WithoutFrameNumbersItIsDenied) {
  tree_.Write("proc/self/pagemap", "");
  roots_.proc = tree_.path("proc");
  EXPECT_EQ(IdleMarks::Open(roots_).error().code(), Code::kDenied);
}

}  // namespace
}  // namespace ullage::sources
