// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/recorder.h"

#include <gmock/gmock.h>

#include <fstream>
#include <mutex>
#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;

template <typename Condition>
bool Await(Condition condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

TEST(Recorder, WritesDownWhatIsPostedAndReadsItBack) {
  const host::TemporaryTree tree;
  Bulletin bulletin;
  const Recorder recorder({.state_dir = tree.path()}, bulletin);
  EXPECT_EQ(recorder.ExplainAt("web-1", WallTime(seconds(1700000000))).error().code(),
            Code::kNotFound);
  EXPECT_EQ(recorder.HistoryOver(seconds(0)).minutes(), 0u);
  Report report = SampleReport();
  for (std::uint64_t tick = 1; tick <= 3; ++tick) {
    report.tick = tick;
    bulletin.Post(Shared(report));
    ASSERT_TRUE(Await([&] { return recorder.Counts().records == tick; }));
    report.snapshot.at.wall += seconds(60);
  }
  const auto then = recorder.ExplainAt("web-1", WallTime(seconds(1700000000)));
  ASSERT_TRUE(then.ok()) << then.error().message();
  EXPECT_EQ(then->vm().name(), "web-1");
  const auto history = recorder.HistoryOver(seconds(0));
  EXPECT_EQ(history.minutes(), 2u);
  EXPECT_EQ(history.horizon_seconds(), 600u);
}

TEST(Recorder, SaysOnceThatItCannotWriteAndThatItCanAgain) {
  const host::TemporaryTree tree;
  std::ofstream(tree.path() + "/past") << "a file where the folder should be";
  std::mutex mutex;
  std::vector<std::string> said;
  Bulletin bulletin;
  const Recorder recorder({.state_dir = tree.path(),
                           .say =
                               [&](const std::string& line) {
                                 const std::lock_guard lock(mutex);
                                 said.push_back(line);
                               }},
                          bulletin);
  Report report = SampleReport();
  for (std::uint64_t tick = 1; tick <= 3; ++tick) {
    report.tick = tick;
    bulletin.Post(Shared(report));
    ASSERT_TRUE(Await([&] { return recorder.Counts().failed == tick; }));
  }
  std::remove((tree.path() + "/past").c_str());
  report.tick = 4;
  bulletin.Post(Shared(report));
  ASSERT_TRUE(Await([&] { return recorder.Counts().records == 1; }));
  ASSERT_TRUE(Await([&] {
    const std::lock_guard lock(mutex);
    return said.size() == 2;
  }));
  const std::lock_guard lock(mutex);
  EXPECT_THAT(said[0], HasSubstr("cannot be written down"));
  EXPECT_THAT(said[1], HasSubstr("again"));
}

}  // namespace
}  // namespace ullage::publishers
