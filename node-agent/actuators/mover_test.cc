// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/mover.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <map>
#include <mutex>

#include "node-agent/kube/fake_api_server.h"

namespace ullage::actuators {
namespace {

using Kind = Action::Kind;
using State = Outcome::State;
using testing::HasSubstr;

constexpr const char* kVmis = "/apis/kubevirt.io/v1/namespaces/a/virtualmachineinstances/";
constexpr const char* kMigrations =
    "/apis/kubevirt.io/v1/namespaces/a/virtualmachineinstancemigrations";

// Answers by request, from any thread, and lets a test hold an answer back.
class Server final : public kube::Transport {
 public:
  Result<kube::HttpHead> Exchange(const kube::HttpRequest& request, const kube::HttpLimits&,
                                  const std::stop_token& stop,
                                  const kube::Receive& receive) override {
    const std::string asked = request.method + " " + request.target;
    std::unique_lock lock(mutex_);
    ++counts_[asked];
    changed_.notify_all();
    changed_.wait(lock, stop, [&] { return held_ != asked; });
    if (stop.stop_requested()) return Error(Code::kUnavailable, "stopping");
    const auto at = answers_.find(asked);
    const auto answer = at == answers_.end() ? std::pair(404, std::string("{}")) : at->second;
    lock.unlock();
    const kube::HttpHead head{answer.first, {}};
    if (auto taken = receive(head, answer.second); !taken) return taken.error();
    return head;
  }

  void Say(const std::string& request, int status, const std::string& body) {
    const std::lock_guard lock(mutex_);
    answers_[request] = {status, body};
  }
  // Nothing that is asked so is answered, until something else is held.
  void Hold(const std::string& request) {
    const std::lock_guard lock(mutex_);
    held_ = request;
    changed_.notify_all();
  }
  int Count(const std::string& request) {
    const std::lock_guard lock(mutex_);
    return counts_[request];
  }
  bool Await(const std::string& request, int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(60), [&] { return counts_[request] >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, std::pair<int, std::string>> answers_;
  std::map<std::string, int> counts_;
  std::string held_;
};

class MoverTest : public testing::Test {
 protected:
  MoverTest() {
    snapshot_.at.boot = BootTime(std::chrono::hours(1));
    snapshot_.node.emplace();
    for (const char* name : {"db", "web"}) Add(name);
    server_->Say("GET /api/v1", 200, R"({"resources": [{"name": "pods/eviction", "group":
      "policy", "version": "v1"}]})");
    server_->Say(Evicts("web"), 201, "{}");
    server_->Say(std::string("POST ") + kMigrations, 201,
                 R"({"metadata": {"name": "ullage-x", "uid": "m-1"}})");
    Start(LastStep::kEvict);
  }
  void Start(LastStep last) {
    mover_.reset();
    mover_ = std::make_unique<Mover>(client_,
                                     MoverOptions{"here", last, milliseconds(1), milliseconds(1)});
  }
  void Add(const std::string& name) {
    VmState vm;
    vm.spec.id.value = "uid-" + name;
    vm.reclaimed = Bytes::MiB(512);
    snapshot_.vms.push_back(vm);
    VmiSample vmi;
    vmi.spec = vm.spec;
    vmi.name_space = "a";
    vmi.name = name;
    vmi.launcher = "pod-" + name;
    snapshot_.node->vmis.Edit().push_back(vmi);
    PodSample pod;
    pod.uid = vmi.launcher;
    pod.name_space = "a";
    pod.name = "launcher-" + name;
    pod.vmi = vm.spec.id;
    snapshot_.node->pods.Edit().push_back(pod);
    server_->Say("GET " + std::string(kVmis) + name, 200,
                 R"({"metadata": {"uid": "uid-)" + name +
                     R"("}, "status": {"nodeName": "here", "activePods": {"pod-)" + name +
                     R"(": "here"}}})");
  }
  static std::string Evicts(const std::string& name) {
    return "POST /api/v1/namespaces/a/pods/launcher-" + name + "/eviction";
  }
  Outcome Ask(Kind kind, const std::string& name = "web") {
    return mover_->Ask(snapshot_, {kind, {"uid-" + name}, "why"});
  }
  // The next word, whatever it takes.
  Outcome Next() {
    kube::RealPause pause;
    for (int i = 0; i < 6000; ++i) {
      auto news = mover_->News(snapshot_.at.boot);
      if (!news.empty()) return news.front();
      pause.For(milliseconds(10), {});
    }
    return {{}, State::kSkipped, "no news came"};
  }

  std::shared_ptr<Server> server_ = std::make_shared<Server>();
  kube::FakeTime time_;
  kube::Client client_{server_, {time_, time_, kube::AlwaysHundred()}};
  Snapshot snapshot_;
  std::unique_ptr<Mover> mover_;
};

TEST_F(MoverTest, EvictsAndTellsWithTheNextNews) {
  EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued);
  const Outcome came = Next();
  EXPECT_EQ(came.state, State::kDone) << came.message;
  EXPECT_EQ(came.action.kind, Kind::kEvict);
  EXPECT_EQ(came.action.id.value, "uid-web");
  EXPECT_TRUE(mover_->News(snapshot_.at.boot).empty()) << "told once";
}

TEST_F(MoverTest, AsksOneAfterTheOther) {
  server_->Hold(Evicts("web"));
  EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued);
  ASSERT_TRUE(server_->Await(Evicts("web"), 1));
  const Outcome second = Ask(Kind::kEvict, "db");
  EXPECT_EQ(second.state, State::kSkipped);
  EXPECT_THAT(second.message, HasSubstr("not answered yet"));
  server_->Hold("");
  EXPECT_EQ(Next().state, State::kDone);
  EXPECT_EQ(Ask(Kind::kEvict, "db").state, State::kQueued);
}

TEST_F(MoverTest, RefusesWhatThePolicyMayNotHaveMeant) {
  const auto refused = [&](auto change, Kind kind = Kind::kEvict) {
    const Snapshot before = snapshot_;
    change(snapshot_);
    const Outcome outcome = Ask(kind);
    snapshot_ = before;
    return outcome.state == State::kSkipped ? outcome.message : "";
  };
  const auto web = [](Snapshot& snapshot) -> VmState& { return snapshot.vms[1]; };
  EXPECT_THAT(refused([&](Snapshot& s) { web(s).reclaimed = Bytes(); }), HasSubstr("reclaimed"));
  EXPECT_NE(refused([&](Snapshot& s) { web(s).leaving = true; }), "");
  EXPECT_NE(refused([&](Snapshot& s) { web(s).exempt = "GPUs"; }, Kind::kMigrate), "");
  EXPECT_NE(refused([&](Snapshot& s) { web(s).spec.reclaim = Reclaim::kOff; }), "");
  EXPECT_EQ(refused([&](Snapshot& s) { web(s).stays = "HostDevices"; }, Kind::kMigrate),
            "it cannot migrate: HostDevices");
  EXPECT_NE(refused([](Snapshot& s) { s.vms.clear(); }), "");
  EXPECT_NE(refused([](Snapshot& s) { s.node.reset(); }), "");
  EXPECT_NE(refused([](Snapshot& s) { s.node->fault = "it does not answer"; }), "");
  EXPECT_NE(refused([](Snapshot& s) { s.node->vmis.Edit()[1].launcher.clear(); }), "");
  EXPECT_NE(refused([](Snapshot& s) { s.node->pods.Edit()[1].vmi.reset(); }), "");
  EXPECT_NE(refused([](Snapshot& s) { s.node->pods.Edit().clear(); }), "");
  EXPECT_EQ(server_->Count(Evicts("web")), 0);
}

TEST_F(MoverTest, LeavesARefusedVmInPeaceForLongerEachTime) {
  server_->Say(Evicts("web"), 409, R"({"message": "Precondition failed"})");
  for (const int minutes : {1, 2, 4}) {
    EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued) << minutes;
    const Outcome came = Next();
    EXPECT_EQ(came.state, State::kFailed);
    EXPECT_THAT(came.message, HasSubstr("Precondition failed"));
    snapshot_.at.boot += std::chrono::minutes(minutes) - milliseconds(1);
    const Outcome again = Ask(Kind::kEvict);
    EXPECT_EQ(again.state, State::kSkipped);
    EXPECT_THAT(again.message, HasSubstr("Precondition failed")) << "and why";
    snapshot_.at.boot += milliseconds(1);
  }
}

TEST_F(MoverTest, WithoutARightNobodyIsAskedForAWhile) {
  server_->Say(Evicts("web"), 403, R"({"message": "cannot create resource \"pods/eviction\""})");
  EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued);
  EXPECT_THAT(Next().message, HasSubstr("pods/eviction"));
  EXPECT_EQ(Ask(Kind::kEvict, "db").state, State::kSkipped) << "nor another VM";
  EXPECT_EQ(Ask(Kind::kMigrate, "db").state, State::kQueued) << "that right is another one";
  EXPECT_EQ(Next().state, State::kDone);
  snapshot_.at.boot += seconds(300);
  EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued);
}

TEST_F(MoverTest, MigratesOneAtATimeAndFollowsIt) {
  const std::string object = std::string("GET ") + kMigrations + "/ullage-x";
  const auto in_phase = [&](const std::string& phase) {
    server_->Say(object, 200,
                 R"({"metadata": {"uid": "m-1"}, "status": {"phase": ")" + phase + "\"}}");
  };
  in_phase("Pending");
  EXPECT_EQ(Ask(Kind::kMigrate).state, State::kQueued);
  const Outcome made = Next();
  EXPECT_EQ(made.state, State::kDone) << made.message;
  EXPECT_THAT(made.message, HasSubstr("ullage-x was made"));
  ASSERT_TRUE(server_->Await(object, 2)) << "it is followed";
  const Outcome second = Ask(Kind::kMigrate, "db");
  EXPECT_EQ(second.state, State::kSkipped);
  EXPECT_THAT(second.message, HasSubstr("a/web"));
  server_->Say(Evicts("db"), 201, "{}");
  EXPECT_EQ(Ask(Kind::kEvict, "db").state, State::kQueued) << "that does not wait";
  EXPECT_EQ(Next().action.kind, Kind::kEvict);
  in_phase("Failed");
  const Outcome failed = Next();
  EXPECT_EQ(failed.state, State::kFailed);
  EXPECT_EQ(failed.action.id.value, "uid-web");
  EXPECT_EQ(Ask(Kind::kMigrate).state, State::kSkipped) << "it failed a moment ago";
  in_phase("Succeeded");
  EXPECT_EQ(Ask(Kind::kMigrate, "db").state, State::kQueued);
  EXPECT_EQ(Next().state, State::kDone);
  // Once that one has left, the next may.
  snapshot_.at.boot += seconds(60);
  State state = State::kSkipped;
  for (int i = 0; i < 6000 && state == State::kSkipped; ++i) {
    state = Ask(Kind::kMigrate).state;
    kube::RealPause().For(milliseconds(10), {});
  }
  EXPECT_EQ(state, State::kQueued);
}

TEST_F(MoverTest, MigratesInsteadWhereNobodyIsToBeEvicted) {
  Start(LastStep::kMigrate);
  const Outcome asked = Ask(Kind::kEvict);
  EXPECT_EQ(asked.state, State::kQueued);
  EXPECT_THAT(asked.message, HasSubstr("migrated instead"));
  const Outcome came = Next();
  EXPECT_EQ(came.state, State::kDone) << came.message;
  EXPECT_EQ(server_->Count(Evicts("web")), 0);
  EXPECT_EQ(server_->Count(std::string("POST ") + kMigrations), 1);
}

TEST_F(MoverTest, StoppingGivesUpWhatRunsAndTakesNothingMore) {
  server_->Hold(Evicts("web"));
  EXPECT_EQ(Ask(Kind::kEvict).state, State::kQueued);
  ASSERT_TRUE(server_->Await(Evicts("web"), 1));
  mover_->Stop();
  const Outcome late = Ask(Kind::kEvict, "db");
  EXPECT_EQ(late.state, State::kSkipped);
  EXPECT_THAT(late.message, HasSubstr("ends"));
  mover_.reset();  // returns though the server never answered
  EXPECT_EQ(server_->Count(Evicts("db")), 0);
}

}  // namespace
}  // namespace ullage::actuators
