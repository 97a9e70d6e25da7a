// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/segment_log.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "node-agent/host/temporary_tree.h"

namespace ullage::publishers {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Read(std::string_view bytes, std::size_t* rest = nullptr) {
  std::vector<std::string> records;
  const std::size_t left = ReadFrames(bytes, [&](std::string_view record) {
    records.emplace_back(record);
    return true;
  });
  if (rest != nullptr) *rest = left;
  return records;
}

TEST(Frames, ComeBackAsTheyWere) {
  const std::string bytes = FrameOf("one") + FrameOf("") + FrameOf(std::string(5000, 'x'));
  std::size_t rest = 1;
  EXPECT_THAT(Read(bytes, &rest), ElementsAre("one", "", std::string(5000, 'x')));
  EXPECT_EQ(rest, 0u);
}

TEST(Frames, EndBeforeWhatACrashLeftHalfWritten) {
  const std::string whole = FrameOf("one") + FrameOf("two");
  for (std::size_t size = FrameOf("one").size(); size < whole.size(); ++size) {
    std::size_t rest = 0;
    EXPECT_THAT(Read(whole.substr(0, size), &rest), ElementsAre("one"));
    EXPECT_EQ(rest, size - FrameOf("one").size());
  }
}

TEST(Frames, EndBeforeWhatIsNotWhatWasWritten) {
  for (std::size_t at = 0; at < FrameOf("two").size(); ++at) {
    std::string bytes = FrameOf("one") + FrameOf("two") + FrameOf("three");
    bytes[FrameOf("one").size() + at] ^= 0x10;
    EXPECT_THAT(Read(bytes), ElementsAre("one")) << at;
  }
  EXPECT_THAT(Read(std::string(100, '\xff')), IsEmpty());
}

class Segments : public testing::Test {
 protected:
  std::vector<std::string> All() const {
    std::vector<std::string> records;
    for (const Segment& segment : SegmentsOf(options_)) {
      const auto content = ReadSegment(segment);
      EXPECT_TRUE(content.ok());
      for (const std::string& record : Read(*content)) records.push_back(record);
    }
    return records;
  }

  host::TemporaryTree tree_;
  SegmentOptions options_{tree_.path() + "/past", "log", 100, 1000};
};

TEST_F(Segments, AreAppendedToAndFollowEachOther) {
  SegmentWriter writer(options_);
  EXPECT_TRUE(writer.AtStart());
  std::vector<std::string> written;
  for (int i = 0; i < 20; ++i) {
    written.push_back("record " + std::to_string(i));
    ASSERT_TRUE(writer.Append(written.back()));
  }
  EXPECT_EQ(All(), written);
  EXPECT_GE(SegmentsOf(options_).size(), 3u);
}

TEST_F(Segments, AreReadByTheNextRunWhichBeginsAFileOfItsOwn) {
  ASSERT_TRUE(SegmentWriter(options_).Append("one"));
  // A crash.
  std::ofstream(SegmentsOf(options_).back().path, std::ios::app) << "half a rec";
  SegmentWriter writer(options_);
  EXPECT_TRUE(writer.AtStart());
  ASSERT_TRUE(writer.Append("two"));
  EXPECT_FALSE(writer.AtStart());
  EXPECT_THAT(All(), ElementsAre("one", "two"));
}

TEST_F(Segments, TakeNoMoreThanTheirBound) {
  SegmentWriter writer(options_);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(writer.Append(std::string(50, 'x')));
  std::uintmax_t total = 0;
  for (const Segment& segment : SegmentsOf(options_)) {
    total += std::filesystem::file_size(segment.path);
  }
  EXPECT_LE(total, options_.total_bytes + options_.segment_bytes + 58);
  EXPECT_GE(total, options_.total_bytes / 2);
}

TEST_F(Segments, PassOverFilesThatAreNone) {
  ASSERT_TRUE(SegmentWriter(options_).Append("one"));
  for (const char* other : {"/log-.log", "/log-x.log", "/log-1.txt", "/other-1.log", "/log--1.log",
                            "/log-99999999999999999999.log"}) {
    std::ofstream(options_.folder + other) << "x";
  }
  EXPECT_THAT(All(), ElementsAre("one"));
}

TEST_F(Segments, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(tree_.path() + "/past") << "a file";
  SegmentWriter writer(options_);
  EXPECT_FALSE(writer.Append("one"));
  EXPECT_TRUE(writer.AtStart());
  EXPECT_THAT(All(), IsEmpty());
}

}  // namespace
}  // namespace ullage::publishers
