// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/damon.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

using testing::UnorderedElementsAre;

constexpr const char* kMark = "0/contexts/0/schemes/0/quotas/weights/sz_permil";

// The folders as a kernel makes them, with room for three regions. What it does with what is
// written there is not here: tests/guest has it for real.
class DamonTest : public testing::Test {
 protected:
  DamonTest() {
    for (const char* file :
         {"0/contexts/nr_contexts", "0/contexts/0/operations", "0/contexts/0/targets/nr_targets",
          "0/contexts/0/schemes/nr_schemes", "0/contexts/0/schemes/0/action"}) {
      Write(file, "");
    }
    for (const char* file : {"intervals/sample_us", "intervals/aggr_us", "intervals/update_us",
                             "nr_regions/min", "nr_regions/max"}) {
      Write(std::string("0/contexts/0/monitoring_attrs/") + file, "");
    }
    for (const char* range : {"sz", "nr_accesses", "age"}) {
      Write(kScheme + "access_pattern/" + range + "/min", "");
      Write(kScheme + "access_pattern/" + range + "/max", "");
    }
    Write(kMark, "");
    Write(kScheme + "tried_regions/total_bytes", "8192\n");
    Write(kRegions + "nr_regions", "");
    for (const char* region : {"0", "1", "2"}) {
      Write(kRegions + region + "/start", "");
      Write(kRegions + region + "/end", "");
    }
    Write("0/state", "off\n");
    Write("nr_kdamonds", "0\n");
  }
  void Write(const std::string& file, const std::string& text) const {
    tree_.Write("damon/admin/kdamonds/" + file, text);
  }
  void Remove(const std::string& file) const { tree_.Remove("damon/admin/kdamonds/" + file); }
  std::string Read(const std::string& file) const {
    return *host::ReadFile(tree_.path("damon/admin/kdamonds/" + file), 64);
  }
  Result<std::unique_ptr<FrameWatch>> Open() const {
    return Damon::Open(tree_.path(), milliseconds(2000), 48);
  }
  const std::string kScheme = "0/contexts/0/schemes/0/";
  const std::string kRegions = "0/contexts/0/targets/0/regions/";
  host::TemporaryTree tree_;
};

TEST_F(DamonTest, LooksAtSinglePagesAndNeitherMergesNorActs) {
  const auto damon = Open();
  ASSERT_TRUE(damon.ok()) << damon.error().message();
  EXPECT_EQ(Read("nr_kdamonds"), "1");
  EXPECT_EQ(Read("0/contexts/0/operations"), "paddr");
  EXPECT_EQ(Read("0/contexts/0/monitoring_attrs/intervals/sample_us"), "2000000");
  EXPECT_EQ(Read("0/contexts/0/monitoring_attrs/intervals/aggr_us"), "2000000");
  EXPECT_EQ(Read("0/contexts/0/monitoring_attrs/nr_regions/min"), std::to_string(Damon::kMost));
  EXPECT_EQ(Read(kScheme + "action"), "stat");
  EXPECT_EQ(Read(kScheme + "access_pattern/nr_accesses/max"), "0");
  EXPECT_EQ(Read(kScheme + "access_pattern/age/min"), "48");
  EXPECT_EQ(Read("0/state"), "off\n") << "it costs nothing before there is something to look at";
}

TEST_F(DamonTest, WatchesTheFramesThatItIsTold) {
  const auto damon = Open();
  ASSERT_TRUE(damon.ok());
  ASSERT_TRUE((*damon)->Watch({5, 9}).ok());
  EXPECT_EQ(Read(kRegions + "nr_regions"), "2");
  EXPECT_EQ(Read(kRegions + "0/start"), "20480");
  EXPECT_EQ(Read(kRegions + "0/end"), "24576");
  EXPECT_EQ(Read(kRegions + "1/start"), "36864");
  EXPECT_EQ(Read("0/state"), "on");
  ASSERT_TRUE((*damon)->Watch({9}).ok());
  EXPECT_EQ(Read("0/state"), "commit") << "what it knows of 9 stays";
  Write("0/state", "off\n");
  ASSERT_TRUE((*damon)->Watch({9}).ok());
  EXPECT_EQ(Read("0/state"), "on") << "it had ended by itself";
  ASSERT_TRUE((*damon)->Watch({}).ok());
  EXPECT_EQ(Read("0/state"), "off");
  EXPECT_EQ((*damon)->Watch({5, 6, 7, 8}).error().code(), Code::kGone) << "a region that is not";
}

TEST_F(DamonTest, NamesWhatFitsTheScheme) {
  const auto damon = Open();
  ASSERT_TRUE(damon.ok());
  Write(kScheme + "tried_regions/0/start", "20480\n");
  Write(kScheme + "tried_regions/7/start", "36864\n");
  const auto frames = (*damon)->Untouched();
  EXPECT_EQ(Read("0/state"), "update_schemes_tried_regions");
  ASSERT_TRUE(frames.ok());
  EXPECT_THAT(*frames, UnorderedElementsAre(5, 9));
  Write(kScheme + "tried_regions/7/start", "-1\n");
  EXPECT_EQ((*damon)->Untouched().error().code(), Code::kInvalid);
}

TEST_F(DamonTest, GivesItBackAtTheEnd) {
  {
    const auto damon = Open();
    ASSERT_TRUE((*damon)->Watch({5}).ok());
  }
  EXPECT_EQ(Read("0/state"), "off");
  EXPECT_EQ(Read("nr_kdamonds"), "0");
}

TEST_F(DamonTest, LeavesAnotherPrograms) {
  Write("nr_kdamonds", "1\n");
  Write("0/state", "on\n");
  Write(kMark, "0\n");
  EXPECT_EQ(Open().error().code(), Code::kExists);
  Remove(kMark);
  EXPECT_EQ(Open().error().code(), Code::kExists) << "one without a scheme";
  Write("nr_kdamonds", "2\n");
  EXPECT_EQ(Open().error().code(), Code::kExists);
  EXPECT_EQ(Read("0/state"), "on\n");
  EXPECT_EQ(Read("nr_kdamonds"), "2\n");
}

TEST_F(DamonTest, EndsWhatADeadAgentLeftButNotALivingOnes) {
  Write("nr_kdamonds", "1\n");
  Write("0/state", "on\n");
  Write(kMark, "1970039905\n");
  {
    const host::Fd living(
        open(tree_.path("damon/admin/kdamonds/nr_kdamonds").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(flock(living.get(), LOCK_EX), 0);
    EXPECT_EQ(Open().error().code(), Code::kExists);
    EXPECT_EQ(Read("0/state"), "on\n");
  }
  const auto damon = Open();
  ASSERT_TRUE(damon.ok()) << damon.error().message();
  EXPECT_EQ(Read("0/state"), "off");
  EXPECT_EQ(Read("nr_kdamonds"), "1");
  EXPECT_EQ(Open().error().code(), Code::kExists) << "this one lives";
}

TEST_F(DamonTest, AKernelThatNamesNoRegionsHasNoneForUs) {
  Remove(kScheme + "tried_regions");
  const auto damon = Open();
  ASSERT_FALSE(damon.ok());
  EXPECT_EQ(damon.error().code(), Code::kGone);
  EXPECT_EQ(Read("nr_kdamonds"), "0") << "and it is given back";
  tree_.Remove("damon");
  EXPECT_EQ(Open().error().code(), Code::kGone);
}

}  // namespace
}  // namespace ullage::sources
