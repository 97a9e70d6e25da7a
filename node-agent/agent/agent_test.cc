// SPDX-License-Identifier: Apache-2.0
// The whole tick over a fake /proc and cgroup tree and a scripted list of QEMUs.
#include "node-agent/agent/agent.h"

#include <gtest/gtest.h>

#include "node-agent/agent/carried.h"
#include "node-agent/agent/change_book.h"
#include "node-agent/host/temporary_tree.h"
#include "node-agent/host/text.h"
#include "node-agent/kube/pause.h"
#include "node-agent/publishers/node_reclaim.h"
#include "node-agent/publishers/node_resource.h"

namespace ullage::agent {
namespace {

class FakeClock final : public host::Clock {
 public:
  Moment Now() const override { return now; }
  Moment now{BootTime(seconds(1000)), WallTime(seconds(1800000000))};
};

class FakeDirectory final : public sources::QemuDirectory {
 public:
  sources::QemuListing Latest() const override { return listing; }
  sources::QemuListing listing;
};

class FakeSwitch final : public actuators::HintSwitch {
 public:
  Status SwitchOn(const VmId& vm) override {
    calls.push_back(vm.value);
    return Ok();
  }
  std::vector<std::string> calls;
};

class FakeWriter final : public actuators::GuestWriter {
 public:
  Status Write(const VmId&, const std::string& parameter, const std::string& value) override {
    calls.push_back(parameter + "=" + value);
    return Ok();
  }
  std::vector<std::string> calls;
};

class AgentTest : public testing::Test {
 protected:
  AgentTest() {
    tree_.Write("proc/meminfo",
                "MemTotal: 3538944 kB\nMemFree: 2097152 kB\nMemAvailable: 2924544 kB\n");
    config_.mode = Mode::kPublish;
    config_.policy.overhead = {Bytes::MiB(128), Bytes()};
    config_.policy.reserve = Bytes();
    config_.policy.history_min = seconds(0);
    config_.policy.rise_delay = seconds(0);
    config_.policy.rise_step = Permyriad{10000};
    config_.policy.ratio_cap = Permyriad{20000};
    ledger_ = std::move(*admission::Ledger::Open(tree_.path("ledger.json"), "boot"));
    gate_ = std::make_unique<Gate>(*ledger_, config_.policy, clock_, Gate::Options{true});
    sources_ = std::make_unique<sources::Sources>(
        sources::HostMemory(roots_, ""), sources::Charges(roots_), directory_, *gate_, *book_);
    config_.policy.guest_parameters = {{"settle_ms", "50"}};
    agent_ = std::make_unique<Agent>(
        config_, Agent::Parts{clock_, *sources_, hints_, parameters_, gate_.get(), bulletin_, {}});
  }
  void AddVm(const std::string& id, int pid, std::int64_t resident_mib) {
    tree_.Write("proc/" + std::to_string(pid) + "/cgroup", "0::/" + id + "\n");
    tree_.Write("cgroup/" + id + "/cgroup.procs", "");
    Charge(id, resident_mib);
    QemuFacts vm;
    vm.spec.id.value = id;
    vm.spec.name = id;
    vm.spec.guest_memory = Bytes::MiB(1024);
    vm.pid = pid;
    vm.epoch = 1;
    vm.hinting = {true, true, true, true};
    vm.answered_at = clock_.now.boot;
    directory_.listing.vms.push_back(vm);
    directory_.listing.listed_at = clock_.now.boot;
  }
  void Charge(const std::string& id, std::int64_t resident_mib) {
    tree_.Write("cgroup/" + id + "/memory.current",
                std::to_string(Bytes::MiB(resident_mib).count()) + "\n");
  }
  const Report& Tick() {
    clock_.now.boot += seconds(1);
    agent_->Tick();
    last_ = bulletin_.Latest();
    return *last_;
  }

  host::TemporaryTree tree_;
  host::Roots roots_{tree_.path("proc"), tree_.path("cgroup")};
  FakeClock clock_;
  FakeDirectory directory_;
  FakeSwitch switch_;
  Config config_;
  actuators::Hints hints_{switch_, true};
  FakeWriter writer_;
  std::unique_ptr<ChangeBook> book_ =
      std::move(*ChangeBook::Open(tree_.path("changes.json"), "boot"));
  actuators::GuestParameters parameters_{writer_, *book_, true};
  std::unique_ptr<admission::Ledger> ledger_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<sources::Sources> sources_;
  publishers::Bulletin bulletin_;
  std::unique_ptr<Agent> agent_;
  std::shared_ptr<const Report> last_;
};

class FakeBalloons final : public actuators::BalloonSetter {
 public:
  Status SetBalloon(const VmId& vm, Bytes left) override {
    calls.push_back(vm.value + " " + std::to_string(left.mib()));
    return Ok();
  }
  std::vector<std::string> calls;
};

TEST_F(AgentTest, WhatAnEarlierAgentTookIsGivenBack) {
  AddVm("a", 7, 300);
  directory_.listing.vms[0].spec.reclaim = Reclaim::kHybrid;
  directory_.listing.vms[0].guest.balloon = Bytes::MiB(512);
  tree_.Write("cgroup/a/memory.high", "419430400\n");
  const auto file =
      host::LeasableFile::Open(roots_, tree_.path("cgroup/a"), 0, host::kHigh).value().inode();
  ASSERT_TRUE(host::MakeDirectories(tree_.path("state"), 0700).ok());
  {
    auto earlier = host::LeaseBook::Open(tree_.path("state"), "boot");
    ASSERT_TRUE(earlier
                    ->Change([&](host::Leases& leases) {
                      leases.balloons["a"] = Bytes::MiB(1024);
                      leases.values[{"a", "memory.high"}] = {
                          tree_.path("cgroup/a"), file, {}, {}, Bytes::MiB(400)};
                    })
                    .ok());
  }
  FakeBalloons balloons;
  const auto taking = Taking::Open({tree_.path("state"), "boot", roots_, ""}, balloons,
                                   [&](const VmId& vm) { return sources_->CgroupOf(vm); });
  ASSERT_TRUE(taking.ok());
  agent_ = std::make_unique<Agent>(
      config_,
      Agent::Parts{
          clock_, *sources_, hints_, parameters_, gate_.get(), bulletin_, {}, taking->get()});
  const Report& first = Tick();
  EXPECT_EQ(first.snapshot.vms[0].leased->limit, Bytes::MiB(400)) << "seen before it is undone";
  EXPECT_EQ(host::ReadFile(tree_.path("cgroup/a/memory.high"), 100).value(), "max");
  EXPECT_EQ(balloons.calls, std::vector<std::string>{"a 1024"});
  EXPECT_EQ(host::FeelPulse(tree_.path("state"))->beat, clock_.now.boot);
  agent_->WishNothing();
  EXPECT_TRUE(agent_->Restores()) << "the guest has not followed yet";
  directory_.listing.vms[0].guest.balloon = Bytes::MiB(1024);
  Tick();
  EXPECT_FALSE(agent_->Restores());
}

TEST_F(AgentTest, SeesBetweenTwoTicksThatTheHostRunsShortOrNoLonger) {
  EXPECT_FALSE(agent_->HostHasTurned()) << "nothing is known yet";
  AddVm("a", 7, 300);
  Tick();
  EXPECT_FALSE(agent_->HostHasTurned());
  tree_.Write("proc/meminfo", "MemTotal: 3538944 kB\nMemFree: 0 kB\nMemAvailable: 40000 kB\n");
  EXPECT_TRUE(agent_->HostHasTurned());
  Tick();
  EXPECT_FALSE(agent_->HostHasTurned()) << "the tick knows: no second one in between";
  tree_.Write("proc/meminfo", "MemTotal: 3538944 kB\nMemFree: 0 kB\nMemAvailable: 2924544 kB\n");
  EXPECT_TRUE(agent_->HostHasTurned()) << "and that it has enough again";
  Tick();
  EXPECT_FALSE(agent_->HostHasTurned());
}

TEST_F(AgentTest, MemoryThatComesBackBecomesAnExtraVm) {
  for (const auto& [id, pid] : {std::pair{"a", 7}, {"b", 8}, {"c", 9}}) AddVm(id, pid, 1000);
  tree_.Write("proc/meminfo", "MemTotal: 3538944 kB\nMemFree: 0 kB\nMemAvailable: 400000 kB\n");
  EXPECT_EQ(Tick().plan.capacity.published, Bytes());
  VmSpec extra;
  extra.id.value = "d";
  extra.name = "d";
  extra.guest_memory = Bytes::MiB(1024);
  extra.placement = Placement::kReclaimed;
  EXPECT_FALSE(gate_->Reserve(extra, false).admitted);

  for (const char* id : {"a", "b", "c"}) Charge(id, 200);
  tree_.Write("proc/meminfo", "MemTotal: 3538944 kB\nMemFree: 0 kB\nMemAvailable: 2924544 kB\n");
  const Report& freed = Tick();
  EXPECT_EQ(freed.snapshot.vms[0].returned, Bytes::MiB(800));
  const Bytes published = freed.plan.capacity.published;
  EXPECT_GE(published, Bytes::MiB(1152));
  EXPECT_TRUE(gate_->Reserve(extra, false).admitted);
  const Report& bound = Tick();
  EXPECT_EQ(bound.plan.capacity.published, published) << "a bind alone moves nothing";
  EXPECT_EQ(bound.plan.capacity.granted, Bytes::MiB(1152));
}

TEST_F(AgentTest, SwitchesHintingOnOnce) {
  AddVm("a", 7, 100);
  directory_.listing.vms[0].hinting = {true, false, false, false};
  EXPECT_EQ(Tick().outcomes.size(), 1u);
  Tick();
  EXPECT_EQ(switch_.calls, std::vector<std::string>{"a"});
}

class FakeNode final : public sources::NodeReader {
 public:
  NodeSample Read() override { return sample; }
  NodeSample sample;
};

// The same tick where Kubernetes admits: what the pods ask for is what was promised.
class NodeAgentTest : public AgentTest {
 protected:
  NodeAgentTest() {
    node_.sample.heard_at = clock_.now.boot;
    node_.sample.allocatable = Bytes::MiB(3000);
    AddVm("a", 7, 200);
    tree_.Write("cgroup/a/memory.peak", std::to_string(Bytes::MiB(1160).count()) + "\n");
    PodSample pod;
    pod.uid = "pa";
    pod.memory = Bytes::MiB(1160);
    pod.vmi = VmId{"a"};
    node_.sample.pods.Edit() = {pod};
    sources_ = std::make_unique<sources::Sources>(
        sources::HostMemory(roots_, ""), sources::Charges(roots_), sources::PodCharges(roots_),
        directory_, node_, *book_);
    agent_ = std::make_unique<Agent>(
        config_, Agent::Parts{clock_, *sources_, hints_, parameters_, nullptr, bulletin_, {}});
  }
  // Another process: it knows nothing but what lies in files.
  void Restart(seconds pause) {
    const std::string file = tree_.path("carried.json");
    ASSERT_TRUE(LeaveCarried(file, "boot", *bulletin_.Latest()).ok());
    clock_.now.boot += pause;
    directory_.listing.vms[0].answered_at = clock_.now.boot;
    directory_.listing.listed_at = clock_.now.boot;
    node_.sample.heard_at = clock_.now.boot;
    agent_ = std::make_unique<Agent>(
        config_, Agent::Parts{clock_, *sources_, hints_, parameters_, nullptr, bulletin_, {}});
    const auto inherited = TakeCarried(file, "boot", clock_.now.boot);
    ASSERT_TRUE(inherited.ok());
    if (*inherited) agent_->Inherit(**inherited);
  }
  FakeNode node_;
};

TEST_F(NodeAgentTest, ARestartedAgentHasWhatItHadWithinOneTick) {
  config_.policy.history_min = seconds(3);
  for (int i = 0; i < 5; ++i) Tick();
  const Bytes had = Tick().plan.capacity.additional;
  ASSERT_GT(had, Bytes());
  config_.policy.history_min = seconds(600);
  config_.policy.rise_delay = seconds(300);
  Restart(seconds(20));
  EXPECT_EQ(Tick().plan.capacity.additional, Bytes()) << "watched for 6 s of 600";
  config_.policy.history_min = seconds(5);
  Restart(seconds(20));
  EXPECT_EQ(Tick().plan.capacity.additional, Bytes()) << "there was nothing to be left";
}

TEST_F(NodeAgentTest, ARestartedAgentNeedsNoNewQuiet) {
  config_.policy.history_min = seconds(3);
  for (int i = 0; i < 5; ++i) Tick();
  const Bytes had = Tick().plan.capacity.additional;
  ASSERT_GT(had, Bytes());
  config_.policy.history_min = seconds(5);
  config_.policy.rise_delay = seconds(300);
  Restart(seconds(20));
  const auto heard = std::exchange(node_.sample.heard_at, std::nullopt);
  EXPECT_EQ(Tick().plan.capacity.additional, Bytes()) << "nothing is known of the node";
  node_.sample.heard_at = heard;
  EXPECT_EQ(Tick().plan.capacity.additional, had);
  Restart(kInheritedFor);
  EXPECT_EQ(Tick().plan.capacity.additional, Bytes()) << "it was away for too long";
}

TEST_F(NodeAgentTest, CountsWhatThePodAskedFor) {
  const Report& report = Tick();
  ASSERT_EQ(report.snapshot.vms.size(), 1u);
  EXPECT_EQ(report.snapshot.vms[0].promised, Bytes::MiB(1160));
  EXPECT_EQ(report.plan.capacity.unsold, Bytes::MiB(1840));
  EXPECT_EQ(report.mode, "publish");
}

TEST_F(NodeAgentTest, KeepsOnlyWhatAnotherPodDoesNotHold) {
  PodSample pod;
  pod.uid = "3f0c5c1e-0000-4000-8000-00000000000a";
  pod.memory = Bytes::MiB(600);
  node_.sample.pods.Edit().push_back(pod);
  tree_.Write("proc/" + std::to_string(getpid()) + "/cgroup", "0::/\n");
  const std::string folder = "cgroup/kubepods/pod" + pod.uid + "/";
  tree_.Write(folder + "memory.current", std::to_string(Bytes::MiB(450).count()) + "\n");
  tree_.Write(folder + "memory.stat", "active_file 0\ninactive_file 0\n");
  EXPECT_EQ(Tick().plan.capacity.terms->not_ours, Bytes::MiB(150));
}

TEST_F(NodeAgentTest, AsksForTheLastStepThatIsConfigured) {
  tree_.Write("proc/meminfo", "MemTotal: 3538944 kB\nMemFree: 1024 kB\nMemAvailable: 1024 kB\n");
  directory_.listing.vms[0].run = Run::kRunning;
  PodSample& pod = node_.sample.pods.Edit()[0];
  pod.memory = Bytes::MiB(648);
  pod.reclaimable = Bytes::MiB(512);
  VmiSample vmi;
  vmi.spec = directory_.listing.vms[0].spec;
  vmi.launcher = pod.uid;
  node_.sample.vmis.Edit() = {vmi};
  for (const auto& [step, kind] : {std::pair{LastStep::kEvict, Action::Kind::kEvict},
                                   {LastStep::kMigrate, Action::Kind::kMigrate}}) {
    config_.kubernetes.last_step = step;
    agent_ = std::make_unique<Agent>(
        config_, Agent::Parts{clock_, *sources_, hints_, parameters_, nullptr, bulletin_, {}});
    const Report& report = Tick();
    EXPECT_EQ(report.plan.squeeze, Squeeze::kEvict);
    ASSERT_FALSE(report.plan.actions.empty());
    EXPECT_EQ(report.plan.actions.back().kind, kind) << Name(step);
  }
}

TEST_F(NodeAgentTest, DoesNoMoreThanThePolicyAllows) {
  directory_.listing.vms[0].hinting = {true, false, false, false};
  node_.sample.max_mode = Mode::kObserve;
  node_.sample.params = config_.policy;
  node_.sample.params->growth = Permyriad{10000};
  const Report& observed = Tick();
  EXPECT_EQ(observed.mode, "observe");
  EXPECT_EQ(observed.plan.vms[0].growth, Bytes::MiB(960)) << "the policy's own numbers";
  ASSERT_EQ(observed.outcomes.size(), 1u);
  EXPECT_EQ(observed.outcomes[0].state, Outcome::State::kSkipped);
  node_.sample.max_mode = Mode::kReclaim;
  EXPECT_EQ(Tick().mode, "publish") << "nor than the configuration allows";
  EXPECT_EQ(switch_.calls, std::vector<std::string>{"a"});
}

// Takes every write; the Node has at once what was written.
class WriteCounter final : public kube::Transport {
 public:
  explicit WriteCounter(NodeSample& node) : node_(node) {}
  Result<kube::HttpHead> Exchange(const kube::HttpRequest& request, const kube::HttpLimits&,
                                  const std::stop_token&, const kube::Receive& receive) override {
    ++writes;
    if (request.target.find("/nodes/") != std::string::npos) Take(request.body);
    const kube::HttpHead head{200, {}};
    if (auto taken = receive(head, "{}"); !taken) return taken.error();
    return head;
  }
  int writes = 0;

 private:
  void Take(const std::string& patch) {
    node_.published.reset();
    const std::string before = R"("value":")";
    const auto at = patch.find(before);
    if (at == std::string::npos || patch.find(R"("remove")") != std::string::npos) return;
    std::string_view rest = std::string_view(patch).substr(at + before.size());
    const auto value = host::ParseUnsigned(host::TakeUntil(rest, '"'));
    if (value) node_.published = Bytes(static_cast<std::int64_t>(*value));
  }
  NodeSample& node_;
};

// Clocks that jump, from the samples to what the API server gets.
class ClockTest : public NodeAgentTest {
 protected:
  ClockTest() {
    node_.sample.name = "n1";
    node_.sample.uid = "u1";
    resource_ = std::make_unique<publishers::NodeResource>(client_, publishers::ResourceRules{},
                                                           publishers::Voice{});
    reclaim_ = std::make_unique<publishers::NodeReclaimWriter>(client_, publishers::ReclaimRules{},
                                                               publishers::Voice{});
    for (int i = 0; i < 3; ++i) Step();
    published_ = node_.sample.published.value_or(Bytes());
    // More would be safe from now on, and may be promised after five minutes of quiet, slowly.
    config_.policy.rise_delay = seconds(300);
    config_.policy.rise_step = Permyriad{200};
    tree_.Write("proc/meminfo",
                "MemTotal: 3538944 kB\nMemFree: 2097152 kB\nMemAvailable: 3424544 kB\n");
    Step();
    transport_->writes = 0;
  }
  // The API server and libvirt were heard a moment ago.
  void Hear() {
    directory_.listing.vms[0].answered_at = clock_.now.boot;
    directory_.listing.listed_at = clock_.now.boot;
    node_.sample.heard_at = clock_.now.boot;
  }
  const Report& Step() {
    Hear();
    const Report& report = Tick();
    resource_->Step(report, {});
    reclaim_->Step(report, {});
    return report;
  }
  Bytes Published() const { return node_.sample.published.value_or(Bytes()); }

  const std::shared_ptr<WriteCounter> transport_ = std::make_shared<WriteCounter>(node_.sample);
  kube::RealPause pause_;
  const kube::Client client_{transport_, {pause_, clock_, kube::SystemRandom()}};
  std::unique_ptr<publishers::NodeResource> resource_;
  std::unique_ptr<publishers::NodeReclaimWriter> reclaim_;
  Bytes published_;  // before the clock jumps
};

TEST_F(ClockTest, AWallClockThatJumpsChangesAndWritesNothing) {
  ASSERT_GT(published_, Bytes());
  for (const auto jump : {std::chrono::hours(24), std::chrono::hours(-48)}) {
    clock_.now.wall += jump;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(Step().plan.capacity.published, published_);
  }
  EXPECT_EQ(Published(), published_);
  EXPECT_LE(transport_->writes, 1) << "the turn of a NodeReclaim's figures";
}

TEST_F(ClockTest, ASuspendIsNoQuietTime) {
  ASSERT_GT(published_, Bytes());
  clock_.now.boot += std::chrono::hours(24);
  EXPECT_EQ(Step().plan.capacity.published, published_) << "everybody was heard before the tick";
  for (int i = 0; i < 298; ++i) EXPECT_EQ(Step().plan.capacity.published, published_);
  EXPECT_LE(transport_->writes, 6) << "at most one a minute";
  EXPECT_EQ(Published(), published_);
  for (int i = 0; i < 3; ++i) Step();
  EXPECT_GT(last_->plan.capacity.published, published_) << "after five minutes of quiet";
}

TEST_F(ClockTest, ASuspendIsNoTimeInWhichAVmWasWatched) {
  config_.policy.history_min = seconds(600);
  clock_.now.boot += std::chrono::hours(24);
  EXPECT_LT(Step().plan.capacity.published, published_);
  EXPECT_GT(last_->plan.vms[0].growth, Bytes::MiB(116)) << "all that it does not hold";
}

TEST_F(ClockTest, AfterASuspendOldWordsPromiseNothing) {
  clock_.now.boot += std::chrono::hours(24);
  const Report& report = Tick();
  EXPECT_EQ(report.plan.capacity.additional, Bytes());
  resource_->Step(report, {});
  reclaim_->Step(report, {});
  EXPECT_EQ(node_.sample.published, std::nullopt);
  EXPECT_LE(transport_->writes, 3);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Step().plan.capacity.additional, Bytes());
  EXPECT_LE(transport_->writes, 7) << "conditions that changed and changed back";
}

TEST_F(ClockTest, AClockThatStandsStillRaisesNothing) {
  ASSERT_GT(published_, Bytes());
  for (int i = 0; i < 20; ++i) {
    clock_.now.boot -= seconds(1);
    EXPECT_EQ(Step().plan.capacity.published, published_);
  }
  EXPECT_EQ(transport_->writes, 0);
}

TEST_F(AgentTest, SetsAParameterOfAGuestAndPutsItBackAtTheEnd) {
  AddVm("a", 7, 100);
  auto& module = directory_.listing.vms[0].module.emplace();
  module.parameters["settle_ms"] = "100";
  Tick();
  Tick();
  EXPECT_EQ(writer_.calls, std::vector<std::string>{"settle_ms=50"});
  EXPECT_EQ(book_->Changes().size(), 1u) << "written down before";
  module.parameters["settle_ms"] = module.written["settle_ms"] = "50";
  EXPECT_TRUE(Tick().outcomes.empty());
  EXPECT_FALSE(agent_->Restores());

  agent_->WishNothing();
  Tick();
  EXPECT_TRUE(agent_->Restores());
  EXPECT_EQ(writer_.calls.back(), "settle_ms=100");
  module.parameters["settle_ms"] = "100";
  Tick();
  EXPECT_FALSE(agent_->Restores());
  EXPECT_TRUE(book_->Changes().empty());
}

TEST_F(AgentTest, GoesOnWhileLibvirtIsAway) {
  AddVm("a", 7, 900);
  Tick();
  directory_.listing.fault = "libvirt does not answer";
  directory_.listing.vms[0].pid.reset();
  Charge("a", 100);
  const Report& report = Tick();
  EXPECT_EQ(report.snapshot.vms[0].resident, Bytes::MiB(100)) << "the cgroup still tells";
  for (int i = 0; i < 40; ++i) Tick();
  EXPECT_EQ(Tick().plan.capacity.additional, Bytes()) << "an old list promises nothing";
}

TEST_F(AgentTest, CountsTicks) {
  EXPECT_EQ(Tick().tick, 1u);
  EXPECT_EQ(Tick().tick, 2u);
  EXPECT_EQ(Tick().mode, "publish");
}

}  // namespace
}  // namespace ullage::agent
