// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/reflector.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>

#include "node-agent/kube/fake_api_server.h"

namespace ullage::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string PodJson(const std::string& name, int version, const std::string& spec = "{}") {
  return R"({"metadata":{"name":")" + name + R"(","uid":"u-)" + name + R"(","resourceVersion":")" +
         std::to_string(version) + R"("},"spec":)" + spec + "}";
}

std::string Line(const std::string& type, const std::string& object) {
  return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}

std::string List(int version, const std::string& items, const std::string& next = "") {
  return R"({"kind":"PodList","metadata":{"resourceVersion":")" + std::to_string(version) +
         R"(","continue":")" + next + R"("},"items":[)" + items + "]}";
}

std::string Gone() {
  return Line("ERROR", R"x({"kind":"Status","status":"Failure","reason":"Expired","code":410,)x"
                       R"x("message":"too old resource version: 1 (12)"})x");
}

// Everything that it is told, as text.
class Diary final : public Handler<k8s::Pod> {
 public:
  void OnAll(std::vector<Item<k8s::Pod>> all) override {
    std::string text = "all";
    for (const auto& item : all) text += " " + Show(item);
    lines.push_back(text);
  }
  void OnChange(Change change, Item<k8s::Pod> item) override {
    const char* names[] = {"added", "modified", "deleted"};
    lines.push_back(std::string(names[static_cast<int>(change)]) + " " + Show(item));
  }
  void OnFault(const Error& error) override {
    lines.push_back("fault");
    faults.push_back(error);
  }
  void OnFine() override { lines.emplace_back("fine"); }

  std::vector<std::string> lines;
  std::vector<Error> faults;

 private:
  static std::string Show(const Item<k8s::Pod>& item) {
    return item.object.metadata().name() + (item.fault.empty() ? "" : "?");
  }
};

class WatchLoopTest : public testing::Test {
 protected:
  // Until the script is at its end.
  void Run() {
    server_->when_empty = [this] { stop_.request_stop(); };
    loop_.Run(stop_.get_token());
  }
  void Watch(std::vector<std::string> pieces, milliseconds lasts = seconds(60)) {
    FakeTransport::Reply reply{200, std::move(pieces)};
    reply.at_end = [this, lasts] { time_.now += lasts; };
    server_->replies.push_back(reply);
  }
  std::string Target(std::size_t request) const { return server_->requests[request].target; }

  std::shared_ptr<FakeTransport> server_ = std::make_shared<FakeTransport>();
  FakeTime time_;
  Client client_{server_, {time_, time_, AlwaysHundred()}};
  Diary diary_;
  TypedFeed<k8s::Pod> feed_{diary_};
  std::stop_source stop_;
  WatchOptions options_{{"a=b", ""}, milliseconds(150000), seconds(300), milliseconds(30000), 300,
                        kOneRest,    seconds(60)};
  WatchLoop loop_{client_, {kPods}, options_, feed_};
};

TEST_F(WatchLoopTest, TellsAllAndThenEachChangeInOrder) {
  server_->Say(200, List(10, PodJson("a", 7) + "," + PodJson("b", 9)));
  const std::string changes = Line("ADDED", PodJson("c", 11)) + Line("MODIFIED", PodJson("a", 12)) +
                              Line("BOOKMARK", R"({"metadata":{"resourceVersion":"20"}})") +
                              Line("DELETED", PodJson("b", 21));
  Watch({changes.substr(0, 50), changes.substr(50, 3), changes.substr(53)});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all a b", "added c", "modified a", "deleted b"));
  EXPECT_EQ(Target(0), "/api/v1/pods?limit=500&labelSelector=a%3Db&resourceVersion=0");
  EXPECT_EQ(Target(1),
            "/api/v1/pods?labelSelector=a%3Db&resourceVersion=10&watch=true&"
            "allowWatchBookmarks=true&timeoutSeconds=400");
  EXPECT_EQ(server_->asked_limits[1].deadline, milliseconds(0));
  EXPECT_EQ(server_->asked_limits[1].silence, milliseconds(150000));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=21&watch=true"));
  EXPECT_EQ(loop_.heard_at(), BootTime(milliseconds(1000)));
}

TEST_F(WatchLoopTest, ABookmarkIsWhereItGoesOn) {
  server_->Say(200, List(10, ""));
  Watch({Line("BOOKMARK", R"({"kind":"Pod","metadata":{"resourceVersion":"99"}})")});
  Run();
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=99&watch"));
  EXPECT_THAT(diary_.lines, ElementsAre("all"));
}

TEST_F(WatchLoopTest, CollectsThePagesOfAList) {
  server_->Say(200, List(10, PodJson("a", 7), "more"));
  server_->Say(200, List(11, PodJson("b", 9)));
  Watch({});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all a b"));
  EXPECT_THAT(Target(1), HasSubstr("continue=more"));
  EXPECT_THAT(Target(1), Not(HasSubstr("resourceVersion")));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=10&watch"));
}

TEST_F(WatchLoopTest, A410InsideTheStreamListsAnewWithoutAFault) {
  server_->Say(200, List(10, PodJson("a", 7)));
  Watch({Line("ADDED", PodJson("b", 11)), Gone() + Line("ADDED", PodJson("never", 12))});
  server_->Say(200, List(30, PodJson("c", 29)));
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all a", "added b", "all c"));
  EXPECT_EQ(Target(2), "/api/v1/pods?labelSelector=a%3Db&resourceVersion=11") << "from the cache";
  EXPECT_THAT(time_.rests, ElementsAre(milliseconds(100)));
}

TEST_F(WatchLoopTest, A410AsStatusListsAnew) {
  server_->Say(200, List(10, ""));
  server_->Say(410, R"({"reason":"Expired","code":410})");
  server_->Say(200, List(30, PodJson("c", 29)));
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "all c"));
  EXPECT_EQ(Target(2), "/api/v1/pods?labelSelector=a%3Db&resourceVersion=10");
}

TEST_F(WatchLoopTest, AVersionThatTheServerDoesNotReachIsListedFromEtcd) {
  server_->Say(200, List(10, ""));
  server_->Say(410, R"({"reason":"Expired","code":410})");
  server_->Say(504, R"({"reason":"Timeout","message":"Too large resource version: 10"})");
  server_->Say(200, List(3, PodJson("c", 2)));
  Run();
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=10"));
  EXPECT_EQ(Target(3), "/api/v1/pods?limit=500&labelSelector=a%3Db");
  EXPECT_THAT(Target(4), HasSubstr("resourceVersion=3&watch"));
}

TEST_F(WatchLoopTest, AListThatIsLateIsAskedForAgainFromTheCache) {
  server_->Say(200, List(10, ""));
  server_->Say(410, R"({"reason":"Expired","code":410})");
  server_->Break(Code::kDeadline);
  server_->Say(200, List(30, ""));
  Run();
  EXPECT_THAT(Target(3), HasSubstr("resourceVersion=10"));
  EXPECT_THAT(diary_.lines, ElementsAre("all", "fault", "all", "fine"));
}

TEST_F(WatchLoopTest, A410BetweenPagesThrowsAwayWhatWasCollected) {
  server_->Say(200, List(10, PodJson("a", 7), "more"));
  server_->Say(410, R"({"reason":"Expired","code":410})");
  server_->Say(200, List(30, PodJson("c", 29)));
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all c"));
}

TEST_F(WatchLoopTest, AnotherErrorInsideTheStreamIsAFault) {
  server_->Say(200, List(10, ""));
  Watch({Line("ERROR", R"({"code":500,"message":"etcd is\u0007 slow"})")});
  Watch({Line("ADDED", PodJson("a", 12))});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "fault", "added a", "fine"));
  EXPECT_EQ(diary_.faults[0].code(), Code::kInternal);
  EXPECT_THAT(diary_.faults[0].message(), HasSubstr("etcd is\\x07 slow"));
}

TEST_F(WatchLoopTest, HonoursRetryAfterOfListsAndWatches) {
  server_->Say(429, "", seconds(3));
  server_->Say(200, List(10, ""));
  server_->Say(503, "", seconds(4));
  Run();
  EXPECT_THAT(time_.rests, ElementsAre(milliseconds(3100), milliseconds(4100)));
  EXPECT_THAT(diary_.lines, ElementsAre("fault", "all", "fine", "fault"));
}

TEST_F(WatchLoopTest, WhatTheServerDoesNotKnowIsAskedForSeldom) {
  server_->Say(404, "");
  server_->Say(403, "");
  server_->Say(200, List(10, ""));
  Run();
  EXPECT_THAT(time_.rests, ElementsAre(milliseconds(60100), milliseconds(100)));
  EXPECT_THAT(diary_.lines, ElementsAre("fault", "fault", "all", "fine"));
}

TEST_F(WatchLoopTest, AfterASilentWatchAListSaysWhetherTheServerLives) {
  server_->Say(200, List(10, ""));
  FakeTransport::Reply silent{200, {Line("ADDED", PodJson("a", 12))}};
  silent.error = std::make_shared<Error>(Code::kDeadline, "the server has gone silent");
  server_->replies.push_back(silent);
  server_->Say(200, List(12, PodJson("a", 12)));
  Watch({Line("ADDED", PodJson("b", 13))});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "added a", "all a", "added b"));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=12"));
  EXPECT_THAT(Target(2), Not(HasSubstr("watch=true")));
  EXPECT_THAT(Target(3), HasSubstr("resourceVersion=12&watch"));
}

TEST_F(WatchLoopTest, ASilentWatchAndAListThatFailsAreAFault) {
  server_->Say(200, List(10, ""));
  FakeTransport::Reply silent{200, {}};
  silent.error = std::make_shared<Error>(Code::kDeadline, "the server has gone silent");
  server_->replies.push_back(silent);
  server_->Say(503, "");
  server_->Say(200, List(10, ""));
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "fault", "all", "fine"));
}

TEST_F(WatchLoopTest, AWatchThatEndsAtOnceIsNotRepeatedAtOnce) {
  server_->Say(200, List(10, ""));
  Watch({}, milliseconds(0));
  Watch({}, milliseconds(0));
  Run();
  EXPECT_THAT(time_.rests, ElementsAre(milliseconds(100), milliseconds(100)));
}

TEST_F(WatchLoopTest, AnObjectThatCannotBeReadIsNamedAndHidesNoOther) {
  server_->Say(
      200, List(10, PodJson("a", 7) + "," + PodJson("bad", 8, "\"x\"") + "," + PodJson("b", 9)));
  Watch({Line("MODIFIED", PodJson("bad", 11, "[1]")), Line("MODIFIED", PodJson("bad", 12))});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all a bad? b", "modified bad?", "modified bad"));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=12&watch"));
}

TEST_F(WatchLoopTest, GarbageIsAFaultAndTheWatchGoesOnWhereItWas) {
  for (const char* garbage :
       {"garbage\n", "{}\n", "{\"type\":\"SUNG\"}\n", "{\"type\":\"ADDED\",\"object\":1}\n",
        "{\"type\":\"ERROR\",\"object\":1}\n", "{\"type\":7}\n", "[]\n"}) {
    diary_.lines.clear();
    diary_.faults.clear();
    EXPECT_FALSE(feed_.Line(garbage).ok()) << garbage;
    EXPECT_THAT(diary_.lines, testing::IsEmpty()) << garbage;
  }
  server_->Say(200, List(10, ""));
  Watch({Line("ADDED", PodJson("a", 12)) + "garbage\n" + Line("ADDED", PodJson("never", 13))});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "added a", "fault"));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=12&watch"));
}

TEST_F(WatchLoopTest, AListThatIsNoneIsAFault) {
  for (const std::string& body : {std::string("{"), std::string("[]"), List(10, R"({"spec":"x"})"),
                                  std::string(R"({"items":[]})"), std::string(R"({"items":{}})")}) {
    server_->Say(200, body);
  }
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("fault", "fault", "fault", "fault", "fault"));
}

TEST_F(WatchLoopTest, AnEndlessLineIsAFaultAndAtLastListsAnew) {
  server_->Say(200, List(10, ""));
  for (int i = 0; i < 3; ++i) Watch({std::string(301, 'x')});
  server_->Say(200, List(30, ""));
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "fault", "fault", "fault", "all", "fine"));
  EXPECT_EQ(diary_.faults[0].code(), Code::kExhausted);
  EXPECT_THAT(Target(4), HasSubstr("resourceVersion=10"));
}

TEST_F(WatchLoopTest, AHalfLineAtTheEndIsNotRead) {
  server_->Say(200, List(10, ""));
  const std::string line = Line("ADDED", PodJson("a", 12));
  Watch({line.substr(0, line.size() - 1)});
  Watch({line});
  Run();
  EXPECT_THAT(diary_.lines, ElementsAre("all", "added a"));
}

TEST_F(WatchLoopTest, RunsUntilItIsStoppedAndSaysNothingThen) {
  server_->Say(200, List(10, ""));
  FakeTransport::Reply reply{200, {Line("ADDED", PodJson("a", 12))}};
  reply.at_end = [this] { stop_.request_stop(); };
  server_->replies.push_back(reply);
  loop_.Run(stop_.get_token());
  EXPECT_THAT(diary_.lines, ElementsAre("all", "added a"));
  EXPECT_EQ(server_->requests.size(), 2U);
}

// Blocks in the watch until it is stopped, as a real server would.
class BlockingTransport final : public Transport {
 public:
  Result<HttpHead> Exchange(const HttpRequest& request, const HttpLimits&,
                            const std::stop_token& stop, const Receive& receive) override {
    const HttpHead head{200, {}};
    if (request.target.find("watch=true") == std::string::npos) {
      if (auto taken = receive(head, List(10, "")); !taken) return taken.error();
      return head;
    }
    std::unique_lock lock(mutex_);
    watching_ = true;
    changed_.notify_all();
    changed_.wait(lock, stop, [] { return false; });
    return Error(Code::kUnavailable, "stopping");
  }
  void AwaitWatch() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return watching_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool watching_ = false;
};

TEST(Reflector, StopsWhileTheServerIsSilent) {
  const auto server = std::make_shared<BlockingTransport>();
  FakeTime time;
  const Client client(server, {time, time, AlwaysHundred()});
  Diary diary;
  auto reflector = Reflector::Start<k8s::Pod>(client, {kPods}, {}, diary);
  ASSERT_TRUE(reflector.ok()) << reflector.error().message();
  server->AwaitWatch();
  EXPECT_NE((*reflector)->heard_at(), BootTime());
  reflector->reset();
  EXPECT_THAT(diary.lines, ElementsAre("all"));
}

TEST(RealPause, AStopEndsIt) {
  RealPause pause;
  std::stop_source stop;
  EXPECT_TRUE(pause.For(milliseconds(1), stop.get_token()));
  std::jthread other([&] { stop.request_stop(); });
  EXPECT_FALSE(pause.For(std::chrono::hours(1), stop.get_token()));
}

}  // namespace
}  // namespace ullage::kube
