// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/bulletin.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

// A reader on a thread of its own.
class Reader {
 public:
  Reader(const Bulletin& bulletin, std::uint64_t seen)
      : thread_([this, &bulletin, seen](const std::stop_token& stop) {
          read_.set_value(bulletin.Newer(seen, stop));
        }) {}

  void Stop() { thread_.request_stop(); }
  std::shared_ptr<const Report> Read() {
    auto read = read_.get_future();
    if (read.wait_for(seconds(60)) == std::future_status::ready) return read.get();
    ADD_FAILURE() << "nobody woke it";
    return nullptr;
  }

 private:
  std::promise<std::shared_ptr<const Report>> read_;
  std::jthread thread_;  // last: it uses all the others
};

TEST(Bulletin, WakesItsReadersForAReportThatTheyHaveNotSeen) {
  Bulletin bulletin;
  bulletin.Post(Shared(SampleReport(1)));
  Reader first(bulletin, 0);
  ASSERT_NE(first.Read(), nullptr);
  Reader one(bulletin, 1);
  Reader another(bulletin, 1);
  bulletin.Post(Shared(SampleReport(1)));
  bulletin.Post(Shared(SampleReport(2)));
  for (Reader* reader : {&one, &another}) {
    const auto report = reader->Read();
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report->tick, 2u);
  }
}

TEST(Bulletin, LetsAReaderGoThatIsToStop) {
  Bulletin bulletin;
  Reader waits(bulletin, 0);
  waits.Stop();
  EXPECT_EQ(waits.Read(), nullptr);
  // Whatever there would be to read.
  bulletin.Post(Shared(SampleReport(1)));
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_EQ(bulletin.Newer(0, stopped.get_token()), nullptr);
}

TEST(Bulletin, LetsEveryReaderGoWhenItCloses) {
  Bulletin bulletin;
  Reader one(bulletin, 0);
  Reader another(bulletin, 0);
  bulletin.Close();
  EXPECT_EQ(one.Read(), nullptr);
  EXPECT_EQ(another.Read(), nullptr);
  bulletin.Post(Shared(SampleReport(1)));
  EXPECT_EQ(bulletin.Newer(0, std::stop_token()), nullptr);
  EXPECT_EQ(bulletin.Newer(0, milliseconds(0)), nullptr);
}

TEST(Bulletin, HasPatienceForReadersThatNothingCanWake) {
  Bulletin bulletin;
  EXPECT_EQ(bulletin.Newer(0, milliseconds(1)), nullptr);
  bulletin.Post(Shared(SampleReport(1)));
  EXPECT_NE(bulletin.Newer(0, milliseconds(1)), nullptr);
  EXPECT_EQ(bulletin.Newer(1, milliseconds(1)), nullptr);
}

}  // namespace
}  // namespace ullage::publishers
