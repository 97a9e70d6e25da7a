// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "node-agent/host/temporary_tree.h"
#include "qemu-backend/fake_hypervisor.h"

namespace ullage::qemu {
namespace {

using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// For tests in which every question is answered: longer than a loaded machine keeps a thread from
// running, so that none seems stalled.
constexpr milliseconds kDeadline{2000};
// For tests that wait for a stall.
constexpr milliseconds kSoonStalled{150};

class Directory : public ::testing::Test {
 protected:
  Directory() {
    options_.deadline = kDeadline;
    options_.list_period = milliseconds(40);
    options_.refresh = milliseconds(20);
    options_.proof_period = milliseconds(60);
    options_.retry = milliseconds(10);
    options_.retry_cap = milliseconds(40);
    options_.run_dir = tree_.path("run");
    options_.roots.proc = tree_.path("proc");
  }
  ~Directory() override {
    fake_->With([](FakeHypervisor& f) {
      f.list_hangs = f.define_hangs = false;
      for (auto& [uuid, vm] : f.vms_) vm.hangs = false;
    });
    directory_.reset();
  }

  void Start() { directory_ = LibvirtDirectory::Start(options_, fake_, clock_); }

  void Process(int n, int pid) {
    tree_.Write("run/vm" + std::to_string(n) + ".pid", std::to_string(pid));
    const std::string uuid = FakeHypervisor::Uuid(n);
    tree_.Write("proc/" + std::to_string(pid) + "/cmdline",
                std::string("qemu\0-uuid\0", 11) + uuid + std::string("\0-m\0", 4));
  }

  // The facts of one VM; an empty one when it is not listed.
  QemuFacts Facts(int n) const {
    for (const QemuFacts& facts : directory_->Latest().vms) {
      if (facts.spec.id.value == FakeHypervisor::Uuid(n)) return facts;
    }
    return {};
  }
  // Waits for something that threads bring about; a generous limit, because machines are slow.
  static ::testing::AssertionResult Soon(const std::function<bool()>& holds) {
    const auto until = steady_clock::now() + seconds(10);
    while (steady_clock::now() < until) {
      if (holds()) return ::testing::AssertionSuccess();
      std::this_thread::sleep_for(milliseconds(2));
    }
    return ::testing::AssertionFailure() << "not within 10 s";
  }
  bool On(int n) const { return On(Facts(n)); }
  static bool On(const QemuFacts& facts) {
    return Judge(facts.hinting) == Hinting::kOn && facts.answered_at && !facts.stalled;
  }

  host::TemporaryTree tree_;
  host::SystemClock clock_;
  LibvirtOptions options_;
  std::shared_ptr<FakeHypervisor> fake_ = std::make_shared<FakeHypervisor>();
  std::unique_ptr<LibvirtDirectory> directory_;
};

TEST_F(Directory, GathersWhatEachQemuSays) {
  fake_->Add(1, 7);
  fake_->Add(2, 8, FakeHypervisor::Balloon("off"));
  fake_->With([](FakeHypervisor& f) {
    f.vm(2).offered = false;
    f.vm(2).run = Run::kPaused;
  });
  Process(1, 4711);
  Start();
  QemuFacts one, two;
  ASSERT_TRUE(Soon([&] {
    one = Facts(1);
    two = Facts(2);
    return On(one) && one.pid && two.hinting.offered == false && two.answered_at;
  }));
  EXPECT_EQ(one.spec.name, "vm1");
  EXPECT_EQ(one.spec.guest_memory, Bytes::MiB(512));
  EXPECT_EQ(one.spec.vcpus, 2u);
  EXPECT_EQ(one.pid, 4711);
  EXPECT_EQ(one.run, Run::kRunning);
  EXPECT_EQ(one.hinting.at_next_start, true);
  EXPECT_EQ(one.guest.balloon, Bytes::MiB(512));
  EXPECT_EQ(one.guest.unused, std::nullopt);
  EXPECT_FALSE(one.stalled);
  EXPECT_EQ(one.fault, "");
  EXPECT_EQ(Judge(two.hinting), Hinting::kNotOffered);
  EXPECT_EQ(two.hinting.at_next_start, false);
  EXPECT_EQ(two.run, Run::kPaused);
  EXPECT_EQ(two.pid, std::nullopt);
  EXPECT_THAT(two.fault, HasSubstr("pid file"));
  EXPECT_TRUE(directory_->Latest().listed_at.has_value());
  EXPECT_EQ(directory_->Latest().fault, "");
}

TEST_F(Directory, OneHungQemuStallsAlone) {
  options_.deadline = kSoonStalled;
  fake_->Add(1, 1);
  fake_->Add(2, 2);
  fake_->With([](FakeHypervisor& f) {
    for (const int n : {1, 2}) {
      f.vm(n).balloon.unused = 100;
      f.vm(n).balloon.last_update = static_cast<std::uint64_t>(
          std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
    }
  });
  Start();
  ASSERT_TRUE(Soon([&] { return On(1) && On(2) && Facts(1).guest.unused; }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).hangs = true; });
  QemuFacts one;
  ASSERT_TRUE(Soon([&] {
    one = Facts(1);
    return one.stalled;
  }));
  // The question that is overdue was asked after the last answer.
  ASSERT_TRUE(one.answered_at);
  EXPECT_GE(clock_.Now().boot - *one.answered_at, kSoonStalled);
  EXPECT_EQ(one.hinting.offered, std::nullopt);
  EXPECT_EQ(one.hinting.negotiated, std::nullopt);
  EXPECT_EQ(one.guest.balloon, std::nullopt);
  EXPECT_EQ(one.guest.unused, std::nullopt);
  EXPECT_EQ(one.run, Run::kUnknown);
  EXPECT_THAT(one.fault, HasSubstr("no answer"));
  EXPECT_EQ(one.spec.guest_memory, Bytes::MiB(512));
  const auto before = Facts(2).answered_at;
  ASSERT_TRUE(Soon([&] { return On(2) && Facts(2).answered_at > before; }));
  EXPECT_TRUE(Facts(1).stalled);
  EXPECT_EQ(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).error().code(), Code::kUnavailable);
  fake_->With([](FakeHypervisor& f) { f.vm(1).hangs = false; });
  ASSERT_TRUE(Soon([&] { return On(1); }));
  EXPECT_GE(directory_->Counters().late, 1u);
}

TEST_F(Directory, LatestIsQuickWhileEverythingHangs) {
  options_.deadline = kSoonStalled;
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).hangs = true; });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).stalled; }));
  fake_->With([](FakeHypervisor& f) { f.list_hangs = true; });
  std::string fault;
  ASSERT_TRUE(Soon([&] {
    fault = directory_->Latest().fault;
    return !fault.empty();
  }));
  EXPECT_THAT(fault, HasSubstr("listing the domains"));
  const auto begin = steady_clock::now();
  for (int i = 0; i < 100; ++i) EXPECT_THAT(directory_->Latest().vms, SizeIs(1));
  EXPECT_LT(steady_clock::now() - begin, seconds(5));
}

TEST_F(Directory, LeavesAStuckThreadBehind) {
  options_.deadline = kSoonStalled;
  fake_->Add(1, 1);
  fake_->Add(2, 2);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1) && On(2); }));
  fake_->With([](FakeHypervisor& f) {
    f.vm(1).hangs = true;
    f.list_hangs = true;
  });
  ASSERT_TRUE(Soon([&] { return Facts(1).stalled; }));
  const auto begin = steady_clock::now();
  directory_.reset();
  EXPECT_LT(steady_clock::now() - begin, seconds(5));
}

TEST_F(Directory, ASlowAnswerVoidsTheProofBeforeIt) {
  options_.deadline = kSoonStalled;
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  fake_->With([](FakeHypervisor& f) {
    f.vm(1).hangs = true;
    f.vm(1).negotiated = false;
  });
  ASSERT_TRUE(Soon([&] { return Facts(1).stalled; }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).hangs = false; });
  bool was_on = false;
  ASSERT_TRUE(Soon([&] {
    const QemuFacts facts = Facts(1);
    was_on = was_on || Judge(facts.hinting) == Hinting::kOn;
    return Judge(facts.hinting) == Hinting::kNotNegotiated;
  }));
  EXPECT_FALSE(was_on);
}

TEST_F(Directory, KeepsTheLastListWhileTheDaemonIsAway) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  fake_->With([](FakeHypervisor& f) { f.down = Error(Code::kUnavailable, "connection lost"); });
  sources::QemuListing old;
  ASSERT_TRUE(Soon([&] {
    old = directory_->Latest();
    return !old.fault.empty() && !old.vms.empty() &&
           old.vms[0].fault.find("connection lost") != std::string::npos;
  }));
  EXPECT_THAT(old.fault, HasSubstr("connection lost"));
  ASSERT_THAT(old.vms, SizeIs(1));
  EXPECT_THAT(old.vms[0].fault, HasSubstr("connection lost"));
  EXPECT_EQ(old.vms[0].spec.guest_memory, Bytes::MiB(512));
  const int opened = fake_->With([](FakeHypervisor& f) {
    f.down.reset();
    return f.opened;
  });
  ASSERT_TRUE(Soon([&] { return directory_->Latest().fault.empty() && On(1); }));
  EXPECT_GT(directory_->Latest().listed_at, old.listed_at);
  ASSERT_TRUE(Soon([&] {
    const QemuFacts facts = Facts(1);
    return facts.fault.find("connection lost") == std::string::npos &&
           facts.answered_at > old.vms[0].answered_at;
  }));
  EXPECT_GT(fake_->With([](FakeHypervisor& f) { return f.opened; }), opened);
}

TEST_F(Directory, StartsWithoutADaemonAndFindsItLater) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.down = Error(Code::kUnavailable, "no libvirtd"); });
  Start();
  ASSERT_TRUE(Soon([&] { return directory_->Latest().fault == "no libvirtd"; }));
  EXPECT_EQ(directory_->Latest().listed_at, std::nullopt);
  fake_->With([](FakeHypervisor& f) { f.down.reset(); });
  ASSERT_TRUE(Soon([&] { return On(1); }));
}

TEST_F(Directory, TriesAgainWhateverKeepsItFromConnecting) {
  fake_->Add(1, 1);
  for (const Code code : {Code::kInternal, Code::kDenied, Code::kInvalid, Code::kNotFound,
                          Code::kGone, Code::kDeadline, Code::kUnavailable}) {
    fake_->With([&](FakeHypervisor& f) { f.open_error = Error(code, "no way in"); });
    Start();
    ASSERT_TRUE(Soon([&] { return Facts(1).fault.find("no way in") != std::string::npos; }))
        << Name(code);
    fake_->With([](FakeHypervisor& f) { f.open_error.reset(); });
    ASSERT_TRUE(Soon([&] { return On(1); })) << Name(code);
  }
}

TEST_F(Directory, ForgetsAVmThatVanishesAndFindsItsNextStart) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  const auto first = Facts(1).epoch;
  fake_->With([](FakeHypervisor& f) { f.vms_.clear(); });
  fake_->Tell(Event::Kind::kChanged, 1);
  ASSERT_TRUE(Soon([&] { return directory_->Latest().vms.empty(); }));
  EXPECT_EQ(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).error().code(), Code::kNotFound);
  fake_->Add(1, 2);
  ASSERT_TRUE(Soon([&] { return On(1); }));
  EXPECT_GT(Facts(1).epoch, first);
}

TEST_F(Directory, SeesARestartBetweenTwoListsByItsNumber) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  const auto first = Facts(1).epoch;
  fake_->Add(1, 2);
  ASSERT_TRUE(Soon([&] { return Facts(1).epoch > first && On(1); }));
}

TEST_F(Directory, SeesARestartByItsPidWhenTheNumberIsTheSame) {
  fake_->Add(1, 1);
  Process(1, 100);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1) && Facts(1).pid == 100; }));
  const auto first = Facts(1).epoch;
  Process(1, 200);
  ASSERT_TRUE(Soon([&] { return Facts(1).pid == 200 && Facts(1).epoch > first && On(1); }));
}

TEST_F(Directory, AGuestResetVoidsWhatTheGuestSaid) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  const auto first = Facts(1).epoch;
  fake_->With([](FakeHypervisor& f) { f.vm(1).negotiated = false; });
  fake_->Tell(Event::Kind::kReset, 1);
  EXPECT_GT(Facts(1).epoch, first);
  EXPECT_NE(Judge(Facts(1).hinting), Hinting::kOn);
  EXPECT_NE(Facts(1).autodeflate, true);
  ASSERT_TRUE(Soon([&] { return Judge(Facts(1).hinting) == Hinting::kNotNegotiated; }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).negotiated = true; });
  ASSERT_TRUE(Soon([&] { return On(1); }));
  EXPECT_EQ(directory_->Counters().resets, 1u);
}

TEST_F(Directory, AsksNothingAboutABalloonThatIsNotThere) {
  fake_->Add(1, 1, "<memballoon model='none'/>");
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  EXPECT_EQ(Judge(Facts(1).hinting), Hinting::kNoBalloon);
  EXPECT_EQ(Facts(1).run, Run::kRunning);
  EXPECT_EQ(fake_->With([](FakeHypervisor& f) { return f.vm(1).qmp_calls; }), 0);
}

TEST_F(Directory, TellsWhetherTheGuestTakesBackFromItsBalloon) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).autodeflate == false; })) << "offered is not accepted";
  fake_->With([](FakeHypervisor& f) { f.vm(1).deflates = true; });
  ASSERT_TRUE(Soon([&] { return Facts(1).autodeflate == true; }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).knows_status = false; });
  ASSERT_TRUE(Soon([&] { return !Facts(1).autodeflate; })) << "nobody answers: unknown";
}

TEST_F(Directory, OneQuestionProvesBothHalves) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).offered = false; });
  ASSERT_TRUE(Soon([&] { return Facts(1).hinting.offered == false; }));
  EXPECT_EQ(fake_->With([](FakeHypervisor& f) { return f.vm(1).property_calls; }), 0);
}

TEST_F(Directory, AQemuThatListsNoOfferIsAskedForIt) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).lists_offer = false; });
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  fake_->With([](FakeHypervisor& f) { f.vm(1).offered = false; });
  EXPECT_TRUE(Soon([&] { return Facts(1).hinting.offered == false; }));
}

TEST_F(Directory, AnOldQemuLeavesTheGuestsHalfUnknown) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).knows_status = false; });
  Start();
  QemuFacts facts;
  ASSERT_TRUE(Soon([&] {
    facts = Facts(1);
    return facts.hinting.offered && facts.answered_at;
  }));
  EXPECT_EQ(facts.hinting.negotiated, std::nullopt);
  EXPECT_EQ(Judge(facts.hinting), Hinting::kUnknown);
  EXPECT_THAT(facts.fault, HasSubstr("CommandNotFound"));
}

TEST_F(Directory, AHypervisorsTimeoutIsAStallToo) {
  fake_->Add(1, 1);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  fake_->With([](FakeHypervisor& f) {
    f.vm(1).balloon_error = Error(Code::kDeadline, "cannot acquire state change lock");
  });
  QemuFacts facts;
  ASSERT_TRUE(Soon([&] {
    facts = Facts(1);
    return facts.stalled;
  }));
  EXPECT_THAT(facts.fault, HasSubstr("state change lock"));
  fake_->With([](FakeHypervisor& f) { f.vm(1).balloon_error.reset(); });
  ASSERT_TRUE(Soon([&] {
    facts = Facts(1);
    return On(facts) && facts.fault.find("lock") == std::string::npos;
  }));
}

TEST_F(Directory, CountsAnUnreadableDefinitionAsTheGreatestPromise) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).live = "<domain/>"; });
  Start();
  ASSERT_TRUE(Soon([&] { return !directory_->Latest().vms.empty(); }));
  EXPECT_EQ(Facts(1).spec.guest_memory, Bytes::Max());
  EXPECT_THAT(Facts(1).fault, HasSubstr("<name>"));
  EXPECT_EQ(Facts(1).spec.name, "vm1");
}

TEST_F(Directory, MakesHostileNamesSafe) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).ref.name = "../x\xFF\x1B[2J"; });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  const QemuFacts facts = Facts(1);
  EXPECT_EQ(facts.spec.name, "../x\\xff\\x1b[2J");
  EXPECT_EQ(facts.pid, std::nullopt);
  EXPECT_THAT(facts.fault, HasSubstr("names no pid file"));
}

TEST_F(Directory, ClampsAndCountsGuestFigures) {
  fake_->Add(1, 1);
  fake_->With([](FakeHypervisor& f) { f.vm(1).balloon.actual = ~std::uint64_t{0}; });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  EXPECT_EQ(Facts(1).guest.balloon, std::nullopt);
  EXPECT_GE(directory_->Counters().implausible, 1u);
}

TEST_F(Directory, SwitchesHintingOnForTheNextStart) {
  fake_->Add(1, 1, FakeHypervisor::Balloon("off"));
  fake_->With([](FakeHypervisor& f) { f.vm(1).offered = false; });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).hinting.at_next_start == false; }));
  ASSERT_TRUE(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok());
  ASSERT_TRUE(Soon([&] { return Facts(1).hinting.at_next_start == true; }));
  EXPECT_TRUE(Soon([&] { return Judge(Facts(1).hinting) == Hinting::kNotOffered; }));
  ASSERT_TRUE(Soon([&] { return directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok(); }));
  ASSERT_TRUE(Soon([&] { return directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok(); }));
  EXPECT_EQ(fake_->With([](FakeHypervisor& f) { return f.vm(1).defines; }), 1);
}

TEST_F(Directory, SaysWhenATransientDomainCannotBeSwitched) {
  fake_->Add(1, 1, FakeHypervisor::Balloon("off"));
  fake_->With([](FakeHypervisor& f) { f.vm(1).persistent.clear(); });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  EXPECT_EQ(Facts(1).hinting.at_next_start, std::nullopt);
  EXPECT_EQ(Facts(1).fault.find("transient"), std::string::npos);
  ASSERT_TRUE(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok());
  ASSERT_TRUE(Soon([&] { return Facts(1).fault.find("transient") != std::string::npos; }));
  EXPECT_FALSE(Facts(1).stalled);
}

TEST_F(Directory, StaysFreshWhileADefinitionTakesItsTime) {
  fake_->Add(1, 1, FakeHypervisor::Balloon("off"));
  fake_->With([](FakeHypervisor& f) { f.define_hangs = true; });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  EXPECT_TRUE(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok());
  EXPECT_EQ(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).error().code(), Code::kExists);
  std::this_thread::sleep_for(kDeadline + milliseconds(500));
  const auto before = Facts(1).answered_at;
  QemuFacts facts;
  ASSERT_TRUE(Soon([&] {
    facts = Facts(1);
    return facts.answered_at > before;
  }));
  EXPECT_FALSE(facts.stalled);
  fake_->With([](FakeHypervisor& f) { f.define_hangs = false; });
  ASSERT_TRUE(Soon([&] { return Facts(1).hinting.at_next_start == true; }));
}

TEST_F(Directory, TellsWhyASwitchFailedUntilOneSucceeds) {
  fake_->Add(1, 1, FakeHypervisor::Balloon("off"));
  fake_->With([](FakeHypervisor& f) { f.define_error = Error(Code::kDenied, "read only"); });
  Start();
  ASSERT_TRUE(Soon([&] { return Facts(1).answered_at.has_value(); }));
  ASSERT_TRUE(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok());
  ASSERT_TRUE(Soon(
      [&] { return Facts(1).fault.find("switching hinting on: read only") != std::string::npos; }));
  EXPECT_EQ(Facts(1).hinting.at_next_start, false);
  fake_->With([](FakeHypervisor& f) { f.define_error.reset(); });
  ASSERT_TRUE(directory_->SwitchOn({FakeHypervisor::Uuid(1)}).ok());
  ASSERT_TRUE(Soon([&] { return Facts(1).hinting.at_next_start == true; }));
  EXPECT_EQ(Facts(1).fault.find("read only"), std::string::npos);
}

TEST_F(Directory, MovesABalloonAndShowsHowFarItWent) {
  fake_->Add(1, 1);
  options_.refresh = options_.proof_period = seconds(100);  // the wish alone wakes its worker
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  ASSERT_TRUE(directory_->SetBalloon({FakeHypervisor::Uuid(1)}, Bytes::MiB(256)).ok());
  EXPECT_TRUE(Soon([&] { return Facts(1).guest.balloon == Bytes::MiB(256); }));
  ASSERT_TRUE(directory_->SetBalloon({FakeHypervisor::Uuid(1)}, Bytes::Max()).ok());
  EXPECT_TRUE(Soon([&] { return Facts(1).guest.balloon == Bytes::MiB(512); })) << "never beyond";
  const auto sets = fake_->With([](FakeHypervisor& f) { return f.vm(1).balloon_sets; });
  EXPECT_EQ(sets, (std::vector<std::uint64_t>{256 * 1024, 512 * 1024}));
  EXPECT_EQ(directory_->SetBalloon({"nobody"}, Bytes::MiB(1)).error().code(), Code::kNotFound);
}

TEST_F(Directory, SaysWhyABalloonCannotBeMoved) {
  fake_->Add(1, 1);
  fake_->Add(2, 2, "<memballoon model='none'/>");
  Start();
  ASSERT_TRUE(Soon([&] { return On(1) && Facts(2).answered_at.has_value(); }));
  EXPECT_EQ(directory_->SetBalloon({FakeHypervisor::Uuid(2)}, Bytes::MiB(1)).error().code(),
            Code::kNotFound);
  fake_->With([](FakeHypervisor& f) { f.vm(1).balloon_set_error = Error(Code::kDenied, "no"); });
  ASSERT_TRUE(directory_->SetBalloon({FakeHypervisor::Uuid(1)}, Bytes::MiB(256)).ok());
  ASSERT_TRUE(
      Soon([&] { return Facts(1).fault.find("setting the balloon: no") != std::string::npos; }));
  EXPECT_TRUE(On(1)) << "and nothing else suffers";
  fake_->With([](FakeHypervisor& f) { f.vm(1).balloon_set_error.reset(); });
  ASSERT_TRUE(directory_->SetBalloon({FakeHypervisor::Uuid(1)}, Bytes::MiB(256)).ok());
  EXPECT_TRUE(Soon([&] { return Facts(1).fault.find("setting the") == std::string::npos; }));
}

TEST_F(Directory, RestsBetweenRounds) {
  fake_->Add(1, 1);
  options_.list_period = seconds(100);
  options_.refresh = options_.proof_period = seconds(100);
  Start();
  ASSERT_TRUE(Soon([&] { return On(1); }));
  const auto lists = [&] { return fake_->With([](FakeHypervisor& f) { return f.lists; }); };
  const auto questions = [&] { return directory_->Counters().questions; };
  // An answer that a loaded machine makes late is asked for anew: once that is done, silence.
  std::uint64_t before = 0;
  ASSERT_TRUE(Soon([&] {
    before = questions();
    std::this_thread::sleep_for(milliseconds(300));
    return questions() == before;
  }));
  EXPECT_EQ(lists(), 1);

  const auto begin = steady_clock::now();
  for (int i = 0; i < 1000; ++i) fake_->Tell(Event::Kind::kReset, 1);
  ASSERT_TRUE(Soon([&] { return questions() > before; }));
  std::this_thread::sleep_for(milliseconds(250));
  const auto asked = questions() - before;
  // A round asks eight questions at most, and begins at once or 100 ms after the one before it.
  const auto rests = (steady_clock::now() - begin) / milliseconds(100);
  EXPECT_LE(asked, 8 * static_cast<std::uint64_t>(rests + 2));
}

}  // namespace
}  // namespace ullage::qemu
