// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/launchers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "qemu-backend/fake_hypervisor.h"

namespace ullage::qemu {
namespace {

using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kModule = std::string(host::kGuestModules) + "/ullage_balloon/";

// The launcher pods of a node, made of values; shared by all threads, so that one that hangs can
// outlive the directory. Behind each pod stands one VM of a FakeHypervisor.
class Node : public std::enable_shared_from_this<Node> {
 public:
  struct Pod {
    int vm = 0;
    int pid = 0;
    bool hangs = false;
    std::optional<Error> fault;
    int finds = 0;
  };

  explicit Node(std::string proc) : proc_(std::move(proc)) {}

  LauncherWays Ways() {
    const auto self = shared_from_this();
    return {
        .find = [self](const sources::LauncherPod& pod, milliseconds) { return self->Find(pod); },
        .socket = [](const sources::Launcher& launcher) -> Result<sources::LibvirtSocket> {
          return sources::LibvirtSocket{host::Fd(), std::to_string(launcher.qemu.pid())};
        },
        .open =
            [self](const std::string& uri, const std::string& domain,
                   const std::shared_ptr<const EventSink>& sink) {
              return self->Open(uri, domain, sink);
            }};
  }
  template <typename F>
  auto With(const std::string& uid, F&& change) {
    const std::lock_guard lock(mutex_);
    struct Notify {
      std::condition_variable& changed;
      ~Notify() { changed.notify_all(); }
    } notify{changed_};
    return change(pods_[uid]);
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    for (auto& [uid, pod] : pods_) pod.hangs = false;
    changed_.notify_all();
  }
  void Tell(int vm, Event::Kind kind) {
    std::shared_ptr<const EventSink> sink;
    {
      const std::lock_guard lock(mutex_);
      sink = sinks_[vm];
    }
    if (sink) (*sink)({kind, "whatever the pod says"});
  }

  const std::shared_ptr<FakeHypervisor> fake = std::make_shared<FakeHypervisor>();

 private:
  Result<sources::Launcher> Find(const sources::LauncherPod& wanted) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !pods_[wanted.uid].hangs; });
    Pod& pod = pods_[wanted.uid];
    ++pod.finds;
    if (pod.fault) return *pod.fault;
    if (pod.vm == 0) return Error(Code::kGone, "no launcher-sock");
    auto qemu = host::Process::Open({.proc = proc_}, pod.pid);
    if (!qemu) return qemu.error();
    return sources::Launcher{1, 107, *std::move(qemu), "/memory/" + wanted.uid};
  }
  Result<std::unique_ptr<Qemu>> Open(const std::string& uri, const std::string& domain,
                                     const std::shared_ptr<const EventSink>& sink) {
    int vm = 0;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [uid, pod] : pods_) {
        if (std::to_string(pod.pid) == uri) vm = pod.vm;
      }
      if (sink) sinks_[vm] = sink;
    }
    if (domain != "default_vm" + std::to_string(vm)) return Error(Code::kInvalid, "other domains");
    const auto ref = fake->With([&](FakeHypervisor& f) -> std::optional<DomainRef> {
      const auto found = f.vms_.find(FakeHypervisor::Uuid(vm));
      return found == f.vms_.end() ? std::nullopt : std::optional(found->second.ref);
    });
    if (!ref) return Error(Code::kNotFound, "no domain runs");
    return fake->Open(*ref);
  }

  const std::string proc_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Pod> pods_;
  std::map<int, std::shared_ptr<const EventSink>> sinks_;
};

class ShiftedClock final : public host::Clock {
 public:
  Moment Now() const override {
    Moment now = system_.Now();
    now.boot += ahead.load();
    return now;
  }
  std::atomic<seconds> ahead{seconds(0)};

 private:
  host::SystemClock system_;
};

class Launchers : public ::testing::Test {
 protected:
  Launchers() {
    // Longer than a loaded machine keeps a thread from running; tests of stalls have their own.
    options_.deadline = seconds(20);
    options_.refresh = milliseconds(20);
    options_.proof_period = milliseconds(60);
    options_.retry = milliseconds(10);
    options_.retry_cap = milliseconds(40);
    options_.least_rest = milliseconds(1);
    options_.guest_read_every = milliseconds(20);
  }
  ~Launchers() override {
    node_->Release();
    node_->fake->With([](FakeHypervisor& f) {
      for (auto& [uuid, vm] : f.vms_) vm.hangs = false;
    });
    directory_.reset();
  }

  // A pod in which vm<n> runs as process `pid`.
  void Run(const std::string& uid, int n, int pid, const std::string& devices = "") {
    tree_.Write(
        "proc/" + std::to_string(pid) + "/stat",
        std::to_string(pid) + " (x) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 5 6\n");
    node_->fake->Add(n, 1, FakeHypervisor::Balloon("on") + devices);
    node_->fake->With([&](FakeHypervisor& f) { f.vm(n).persistent.clear(); });
    node_->With(uid, [&](Node::Pod& pod) {
      pod.vm = n;
      pod.pid = pid;
    });
  }
  static LauncherTarget Target(int n, const std::string& uid) {
    LauncherTarget target;
    target.pod = {uid, "default", "vm" + std::to_string(n)};
    target.spec.id.value = "vmi-" + std::to_string(n);
    target.spec.name = "default/vm" + std::to_string(n);
    target.spec.guest_memory = Bytes::MiB(512);
    target.spec.vcpus = 2;
    return target;
  }
  void Start(std::vector<LauncherTarget> targets) {
    directory_ = std::make_unique<LauncherDirectory>(options_, node_->Ways(), clock_);
    directory_->SetPods(std::move(targets));
  }
  QemuFacts Facts(int n = 1) const {
    for (QemuFacts& facts : directory_->Latest().vms) {
      if (facts.spec.id.value == "vmi-" + std::to_string(n)) return facts;
    }
    return {};
  }
  static ::testing::AssertionResult Soon(const std::function<bool()>& holds) {
    const auto until = steady_clock::now() + seconds(45);
    while (steady_clock::now() < until) {
      if (holds()) return ::testing::AssertionSuccess();
      std::this_thread::sleep_for(milliseconds(2));
    }
    return ::testing::AssertionFailure() << "not within 45 s";
  }
  static bool On(const QemuFacts& facts) {
    return Judge(facts.hinting) == Hinting::kOn && facts.answered_at && !facts.stalled;
  }
  ::testing::AssertionResult SoonOn(int n = 1) {
    return Soon([&] { return On(Facts(n)); });
  }

  host::TemporaryTree tree_;
  ShiftedClock clock_;
  LibvirtOptions options_ = LauncherDefaults();
  std::shared_ptr<Node> node_ = std::make_shared<Node>(tree_.path("proc"));
  std::unique_ptr<LauncherDirectory> directory_;
};

TEST_F(Launchers, ShowsEachVmiWithWhatItsPodSays) {
  Run("pod-1", 1, 4711);
  Run("pod-2", 2, 4712);
  node_->fake->With([](FakeHypervisor& f) { f.vm(2).offered = false; });
  Start({Target(1, "pod-1"), Target(2, "pod-2")});
  ASSERT_TRUE(SoonOn(1));
  ASSERT_TRUE(Soon([&] { return Judge(Facts(2).hinting) == Hinting::kNotOffered; }));
  const QemuFacts one = Facts(1);
  EXPECT_EQ(one.spec.name, "default/vm1");
  EXPECT_EQ(one.spec.guest_memory, Bytes::MiB(512));
  EXPECT_EQ(one.pid, 4711);
  EXPECT_EQ(one.memory_cgroup, "/memory/pod-1");
  EXPECT_EQ(one.hinting.at_next_start, std::nullopt) << "KubeVirt writes it anew";
  EXPECT_EQ(Facts(2).hinting.at_next_start, false);
  EXPECT_TRUE(Soon([&] { return Facts(1).run == Run::kRunning && Facts(1).fault.empty(); }));
  EXPECT_TRUE(directory_->Latest().listed_at);
  EXPECT_EQ(directory_->Latest().fault, "");
}

TEST_F(Launchers, NobodySaidWhichPodsThereAre) {
  directory_ = std::make_unique<LauncherDirectory>(options_, node_->Ways(), clock_);
  EXPECT_FALSE(directory_->Latest().listed_at);
  EXPECT_NE(directory_->Latest().fault, "");
}

TEST_F(Launchers, LibvirtRaisesThePromiseAndNonsenseDoesNot) {
  Run("pod-1", 1, 4711);
  LauncherTarget target = Target(1, "pod-1");
  target.spec.guest_memory = Bytes::MiB(256);
  target.spec.vcpus = 1;
  Start({target});
  ASSERT_TRUE(Soon([&] { return Facts().spec.guest_memory == Bytes::MiB(512); }));
  EXPECT_EQ(Facts().spec.vcpus, 2U);
  target.spec.guest_memory = Bytes::GiB(1);
  directory_->SetPods({target});
  EXPECT_EQ(Facts().spec.guest_memory, Bytes::GiB(1)) << "what the API says is never lowered";
  target.spec.guest_memory = Bytes::MiB(31);
  directory_->SetPods({target});
  EXPECT_EQ(Facts().spec.guest_memory, Bytes::MiB(31)) << "more than 16 times as much";
  EXPECT_THAT(Facts().fault, HasSubstr("not believed"));
  target.spec.guest_memory = Bytes();
  directory_->SetPods({target});
  EXPECT_EQ(Facts().spec.guest_memory, Bytes::MiB(512)) << "the API does not say";
  node_->With("pod-9", [](Node::Pod& pod) { pod.fault = Error(Code::kGone, "not there"); });
  LauncherTarget unread = Target(9, "pod-9");
  unread.spec.guest_memory = Bytes();
  directory_->SetPods({unread});
  EXPECT_EQ(Facts(9).spec.guest_memory, Bytes::Max()) << "nobody says";
}

TEST_F(Launchers, OneThatNeverAnswersStallsAlone) {
  options_.deadline = milliseconds(150);
  Run("pod-1", 1, 4711);
  Run("pod-2", 2, 4712);
  Run("pod-3", 3, 4713);
  node_->With("pod-1", [](Node::Pod& pod) { pod.hangs = true; });
  Start({Target(1, "pod-1"), Target(2, "pod-2"), Target(3, "pod-3")});
  ASSERT_TRUE(SoonOn(2));
  node_->fake->With([](FakeHypervisor& f) { f.vm(2).hangs = true; });
  ASSERT_TRUE(Soon([&] { return Facts(1).stalled && Facts(2).stalled; }));
  EXPECT_THAT(Facts(1).fault, HasSubstr("no answer in time"));
  EXPECT_EQ(Facts(2).hinting.offered, std::nullopt);
  EXPECT_EQ(Facts(2).memory_cgroup, "/memory/pod-2") << "its charge can still be read";
  const BootTime then = clock_.Now().boot;
  ASSERT_TRUE(Soon([&] { return Facts(3).answered_at > then && On(Facts(3)); }));
  node_->Release();
  node_->fake->With([](FakeHypervisor& f) { f.vm(2).hangs = false; });
  EXPECT_TRUE(SoonOn(1));
  EXPECT_TRUE(SoonOn(2));
}

TEST_F(Launchers, APodThatIsNotWhatItSaysIsShownAndNeverActedOn) {
  Run("pod-1", 1, 4711);
  node_->With("pod-1", [](Node::Pod& pod) {
    pod.fault = Error(Code::kInvalid, "its cgroup belongs to another pod");
  });
  options_.guest_rule = GuestRule::kAllow;
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(Soon([&] { return Facts().fault.find("another pod") != std::string::npos; }));
  EXPECT_EQ(Facts().run, ullage::Run::kUnknown);
  EXPECT_EQ(Facts().pid, std::nullopt);
  EXPECT_EQ(Facts().memory_cgroup, "");
  EXPECT_EQ(Facts().spec.guest_memory, Bytes::MiB(512)) << "it is still promised";
  const Status written = directory_->Write({"vmi-1"}, "settle_ms", "50");
  EXPECT_EQ(written.error().code(), Code::kUnavailable);
  EXPECT_THAT(written.error().message(), HasSubstr("not found"));
  EXPECT_EQ(node_->fake->With([](FakeHypervisor& f) { return f.opened; }), 0);
  node_->With("pod-1", [](Node::Pod& pod) { pod.fault.reset(); });
  EXPECT_TRUE(SoonOn());
}

TEST_F(Launchers, ALibvirtWithOtherDomainsIsRefused) {
  Run("pod-1", 2, 4711);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(Soon([&] { return Facts().fault.find("other domains") != std::string::npos; }));
  EXPECT_EQ(Judge(Facts().hinting), Hinting::kUnknown);
}

TEST_F(Launchers, WhatHasJustStartedIsLookedAtAtOnce) {
  options_.retry = options_.retry_cap = std::chrono::hours(1);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(Soon([&] { return Facts().fault.find("launcher-sock") != std::string::npos; }));
  Run("pod-1", 1, 4711);
  EXPECT_EQ(Judge(Facts().hinting), Hinting::kUnknown);
  directory_->Poke({"vmi-7"});
  directory_->Poke({"vmi-1"});
  EXPECT_TRUE(SoonOn());
}

TEST_F(Launchers, WhatIsNotThereYetIsLookedForAgain) {
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(Soon([&] { return Facts().fault.find("launcher-sock") != std::string::npos; }));
  Run("pod-1", 1, 4711);
  EXPECT_TRUE(SoonOn());
}

TEST_F(Launchers, ANewQemuIsANewEpoch) {
  Run("pod-1", 1, 4711);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(Soon([&] { return On(Facts()) && Facts().pid; }));
  const std::uint64_t epoch = Facts().epoch;
  node_->fake->With([](FakeHypervisor& f) { f.vms_.clear(); });
  tree_.Remove("proc/4711");
  ASSERT_TRUE(Soon([&] { return !Facts().pid && Judge(Facts().hinting) == Hinting::kUnknown; }));
  EXPECT_EQ(Facts().memory_cgroup, "/memory/pod-1") << "the pod is the same";
  Run("pod-1", 1, 4712);
  ASSERT_TRUE(Soon([&] { return On(Facts()) && Facts().pid == 4712; }));
  EXPECT_GT(Facts().epoch, epoch);
}

TEST_F(Launchers, ANewPodOfTheVmiIsANewEpoch) {
  Run("pod-1", 1, 4711);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(SoonOn());
  const std::uint64_t epoch = Facts().epoch;
  const auto before = directory_->Counters();
  Run("pod-2", 1, 4712);
  directory_->SetPods({Target(1, "pod-2")});
  EXPECT_GT(Facts().epoch, epoch);
  ASSERT_TRUE(Soon([&] { return On(Facts()) && Facts().memory_cgroup == "/memory/pod-2"; }));
  directory_->SetPods({Target(1, "pod-2")});
  EXPECT_GT(directory_->Counters().questions, before.questions) << "none is forgotten";
  EXPECT_GE(directory_->Counters().connections, before.connections + 1);
}

TEST_F(Launchers, OfTwoPodsOfOneVmiTheKnownOneStays) {
  Run("pod-1", 1, 4711);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(SoonOn());
  const std::uint64_t epoch = Facts().epoch;
  directory_->SetPods({Target(1, "pod-2"), Target(1, "pod-1")});
  ASSERT_THAT(directory_->Latest().vms, SizeIs(1));
  EXPECT_EQ(Facts().epoch, epoch);
  EXPECT_THAT(Facts().fault, AllOf(HasSubstr("two launcher pods"), HasSubstr("only pod-1")));
  directory_->SetPods({Target(1, "pod-1")});
  EXPECT_TRUE(Soon([&] { return Facts().fault.empty(); }));
}

TEST_F(Launchers, APodThatIsNoLongerNamedIsLeft) {
  Run("pod-1", 1, 4711);
  Run("pod-2", 2, 4712);
  Start({Target(1, "pod-1"), Target(2, "pod-2")});
  ASSERT_TRUE(SoonOn(1));
  directory_->SetPods({Target(2, "pod-2")});
  EXPECT_THAT(directory_->Latest().vms, SizeIs(1));
  EXPECT_EQ(directory_->Write({"vmi-1"}, "settle_ms", "50").error().code(), Code::kNotFound);
  EXPECT_EQ(directory_->SwitchOn({"vmi-1"}).error().code(), Code::kNotFound);
  EXPECT_TRUE(SoonOn(2));
}

TEST_F(Launchers, AResetIsANewEpoch) {
  Run("pod-1", 1, 4711);
  Start({Target(1, "pod-1")});
  ASSERT_TRUE(SoonOn());
  const std::uint64_t epoch = Facts().epoch;
  node_->Tell(1, Event::Kind::kReset);
  EXPECT_GT(Facts().epoch, epoch);
  EXPECT_EQ(directory_->Counters().resets, 1U);
  EXPECT_TRUE(SoonOn());
}

TEST_F(Launchers, SaysWhatToChangeAndChangesNothing) {
  Run("pod-1", 1, 4711);
  node_->fake->With([](FakeHypervisor& f) { f.vm(1).offered = false; });
  LauncherTarget target = Target(1, "pod-1");
  target.hints_off = "the cluster switches it off";
  Start({target});
  ASSERT_TRUE(Soon([&] { return Facts().hinting.offered == false; }));
  Status status = directory_->SwitchOn({"vmi-1"});
  EXPECT_EQ(status.error().code(), Code::kDenied);
  EXPECT_THAT(status.error().message(),
              AllOf(HasSubstr("the cluster switches it off"), HasSubstr("disableFreePageReporting"),
                    HasSubstr("free-page-reporting-disabled"), HasSubstr("domain hook")));
  node_->fake->With([](FakeHypervisor& f) {
    f.vm(1).live = FakeHypervisor::Xml(f.vm(1).ref, "<memballoon model='none'/>");
  });
  ASSERT_TRUE(Soon([&] { return Facts().hinting.balloon == false; }));
  EXPECT_THAT(directory_->SwitchOn({"vmi-1"}).error().message(), HasSubstr("autoattachMemBalloon"));
  EXPECT_EQ(node_->fake->With([](FakeHypervisor& f) { return f.vm(1).defines; }), 0);
}

TEST_F(Launchers, WhoPassesADeviceThroughIsExempt) {
  Run("pod-1", 1, 4711, "<hostdev mode='subsystem' type='pci'/>");
  Start({Target(1, "pod-1")});
  EXPECT_TRUE(Soon([&] { return Facts().exempt.find("VFIO") != std::string::npos; }));
}

class LaunchersWithAgent : public Launchers {
 protected:
  LaunchersWithAgent() {
    Run("pod-1", 1, 4711,
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' "
        "state='connected'/></channel>");
    node_->fake->With([](FakeHypervisor& f) {
      f.vm(1).files[kModule + "summary"] = "reporting 1\nreported_bytes 4096\n";
      f.vm(1).files[kModule + "parameters/settle_ms"] = "100\n";
    });
    options_.guest_parameters = {"settle_ms"};
    target_.spec.guest_access = GuestAccess::kAllow;
  }
  Status Write() { return directory_->Write({"vmi-1"}, "settle_ms", "50"); }

  LauncherTarget target_ = Target(1, "pod-1");
};

TEST_F(LaunchersWithAgent, AsksTheGuestOnlyWhereItsOwnerAllows) {
  target_.spec.guest_access = GuestAccess::kUnset;
  Start({target_});
  ASSERT_TRUE(Soon([&] { return On(Facts()) && Facts().agent == GuestAgent::kDenied; }));
  EXPECT_THAT(Write().error().message(), HasSubstr("may not be used"));
  EXPECT_EQ(node_->fake->With([](FakeHypervisor& f) { return f.vm(1).agent_calls; }), 0);
  target_.spec.guest_access = GuestAccess::kAllow;
  directory_->SetPods({target_});
  ASSERT_TRUE(Soon([&] { return Facts().agent == GuestAgent::kReads; }));
  EXPECT_TRUE(Write().ok());
  EXPECT_TRUE(Soon(
      [&] { return node_->fake->With([](FakeHypervisor& f) { return f.vm(1).writes; }) == 1; }));
  target_.spec.guest_access = GuestAccess::kDeny;
  directory_->SetPods({target_});
  EXPECT_THAT(Write().error().message(), HasSubstr("may not be used"));
  EXPECT_TRUE(Soon([&] { return Facts().agent == GuestAgent::kDenied; }));
}

TEST_F(LaunchersWithAgent, WhoLeavesIsLetGo) {
  Start({target_});
  ASSERT_TRUE(Soon([&] { return Facts().agent == GuestAgent::kReads; }));
  directory_->LetGo({"vmi-7"});
  directory_->LetGo({"vmi-1"});
  EXPECT_THAT(Write().error().message(), HasSubstr("leaving"));
  const auto balloon = directory_->SetBalloon({"vmi-1"}, Bytes::MiB(256));
  EXPECT_THAT(balloon.error().message(), HasSubstr("leaving"));
  EXPECT_TRUE(On(Facts())) << "it is still shown";
  clock_.ahead = seconds(121);
  target_.leaving = true;
  directory_->SetPods({target_});
  EXPECT_THAT(Write().error().message(), HasSubstr("leaving"));
  target_.leaving = false;
  directory_->SetPods({target_});
  EXPECT_TRUE(Soon([&] { return Write().ok(); })) << "the migration was called off";
  directory_->LetGo({"vmi-1"});
  directory_->Poke({"vmi-1"});
  EXPECT_TRUE(Soon([&] { return Write().ok(); })) << "it started here";
}

TEST_F(Launchers, EndsWhileAPodHangs) {
  options_.deadline = milliseconds(100);
  Run("pod-1", 1, 4711);
  Run("pod-2", 2, 4712);
  node_->With("pod-1", [](Node::Pod& pod) { pod.hangs = true; });
  Start({Target(1, "pod-1"), Target(2, "pod-2")});
  ASSERT_TRUE(Soon([&] { return Facts(1).stalled; }));
  directory_->SetPods({Target(2, "pod-2")});
  directory_.reset();  // the test would never end
}

}  // namespace
}  // namespace ullage::qemu
