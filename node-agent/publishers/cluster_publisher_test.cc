// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/cluster_publisher.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>

#include "node-agent/kube/pause.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;

// Takes everything, from any thread.
class Acceptor final : public kube::Transport {
 public:
  Result<kube::HttpHead> Exchange(const kube::HttpRequest& request, const kube::HttpLimits&,
                                  const std::stop_token& stop,
                                  const kube::Receive& receive) override {
    std::unique_lock lock(mutex_);
    bodies_.push_back(request.target + " " + request.body);
    changed_.notify_all();
    while (hold_) {
      if (stop.stop_requested()) return Error(Code::kUnavailable, "stopping");
      changed_.wait_for(lock, milliseconds(10));
    }
    const kube::HttpHead head{200, {}};
    if (auto taken = receive(head, "{}"); !taken) return taken.error();
    return head;
  }

  // The first request that holds `text`; empty when none comes for long.
  std::string Await(const std::string& text) {
    std::unique_lock lock(mutex_);
    std::string found;
    changed_.wait_for(lock, seconds(60), [&] {
      for (const std::string& body : bodies_) {
        if (body.find(text) != std::string::npos) found = body;
      }
      return !found.empty();
    });
    return found;
  }
  void Hold(bool hold) {
    const std::lock_guard lock(mutex_);
    hold_ = hold;
  }
  std::vector<std::string> Bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> bodies_;
  bool hold_ = false;
};

class Publisher : public testing::Test {
 protected:
  Report Tick(Bytes additional) {
    Report report = SampleReport(++tick_);
    report.snapshot.at = clock_.Now();
    report.snapshot.node = NodeSample{};
    report.snapshot.node->name = "n1";
    report.snapshot.node->uid = "1-2";
    report.snapshot.node->heard_at = clock_.Now().boot;
    report.plan.capacity.granted = Bytes();
    report.plan.capacity.additional = additional;
    return report;
  }

  host::SystemClock clock_;
  kube::RealPause pause_;
  std::shared_ptr<Acceptor> server_ = std::make_shared<Acceptor>();
  kube::Client client_{server_, {pause_, clock_, kube::SystemRandom()}};
  Bulletin bulletin_;
  std::uint64_t tick_ = 0;
};

TEST_F(Publisher, WritesWhatTheLatestReportSaysAndTakesItBackAtTheEnd) {
  {
    const ClusterPublisher publisher({.node = "n1"}, client_, bulletin_);
    bulletin_.Post(Shared(Tick(Bytes::GiB(1))));
    EXPECT_THAT(server_->Await("\"1073741824\""), HasSubstr("/api/v1/nodes/n1/status"));
    bulletin_.Close();
  }
  EXPECT_THAT(server_->Bodies().back(), HasSubstr("\"remove\""));
}

TEST_F(Publisher, EndsWhileAnApiServerDoesNotAnswer) {
  server_->Hold(true);
  auto publisher =
      std::make_unique<ClusterPublisher>(ClusterPublisherOptions{.node = "n1"}, client_, bulletin_);
  Report observe = Tick(Bytes::GiB(1));
  observe.mode = "observe";
  observe.snapshot.node->published = Bytes::GiB(1);  // of another time: it is removed
  bulletin_.Post(Shared(observe));
  EXPECT_NE(server_->Await("\"remove\""), "");
  publisher.reset();  // returns: the call is ended
}

}  // namespace
}  // namespace ullage::publishers
