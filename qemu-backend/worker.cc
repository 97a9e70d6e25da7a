// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/worker.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "node-agent/host/text.h"
#include "qemu-backend/guest_stats.h"
#include "qemu-backend/pid_file.h"
#include "qemu-backend/qmp.h"
#include "qemu-backend/switch_on.h"
#include "qemu-backend/thread.h"

namespace ullage::qemu {
namespace {

// A guest takes the offer when its driver loads, some time after a start or a reset. Until it has,
// or this has passed, the proof is looked for at each refresh.
constexpr seconds kEager{60};

std::uint32_t Seed(const std::string& uuid) {
  return static_cast<std::uint32_t>(std::hash<std::string>{}(uuid));
}

}  // namespace

DirectoryCounters Count(const Common& common) {
  const auto& tally = common.tally;
  return {tally.questions,       tally.failures,       tally.late,
          tally.connections,     tally.resets,         tally.implausible,
          tally.guest_questions, tally.guest_failures, tally.guest_late,
          tally.guest_refused};
}

std::shared_ptr<Worker> Worker::Start(std::shared_ptr<Common> common, const DomainRef& domain,
                                      const Result<DomainFacts>& first) {
  auto worker = std::make_shared<Worker>(std::move(common), domain, first);
  const Status started = Launch("qemu-worker", [worker] { worker->Run(); });
  if (!started) {
    worker->inquiry_.Stop();
    worker->inquiry_.Finish();
    const std::lock_guard lock(worker->inquiry_.mutex());
    worker->faults_[kConnection] = started.error().message();
  }
  return worker;
}

Worker::Worker(std::shared_ptr<Common> common, const DomainRef& domain,
               const Result<DomainFacts>& first)
    : common_(std::move(common)),
      domain_(domain),
      inquiry_(common_->clock, common_->options.deadline),
      guest_(std::make_shared<GuestLink>(common_, domain)),
      backoff_(common_->options.retry, common_->options.retry_cap, Seed(domain.uuid)) {
  if (first) {
    facts_.spec = ToSpec(*first);
    facts_.hinting.balloon = first->balloon.present;
    facts_.exempt = first->pinned;
  } else {
    facts_.spec.guest_memory = Bytes::Max();
    faults_[kDefinition] = first.error().message();
  }
  facts_.spec.id.value = domain_.uuid;
  facts_.spec.name = host::Printable(domain_.name);
  facts_.epoch = ++common_->epochs;
  guest_memory_ = facts_.spec.guest_memory;
}

QemuFacts Worker::Latest(BootTime now) const {
  const std::lock_guard lock(inquiry_.mutex());
  QemuFacts facts = facts_;
  if (const auto overdue = inquiry_.OverdueLocked(now)) {
    facts.stalled = true;
    // Without its age: a fault that lasts is said once.
    facts.fault = std::string("no answer in time: ") + overdue->question;
  }
  for (const std::string& fault : faults_) {
    if (!fault.empty()) facts.fault += (facts.fault.empty() ? "" : "; ") + fault;
  }
  if (facts.agent == GuestAgent::kReads) {  // the way is open; how far it goes, the link knows
    GuestLink::Word word = guest_->Latest(now);
    facts.agent = word.state;
    facts.agent_fault = std::move(word.fault);
    facts.module = std::move(word.module);
  }
  if (facts.stalled) {
    facts.run = Run::kUnknown;
    facts.hinting.offered.reset();
    facts.hinting.negotiated.reset();
    facts.guest = {};
  }
  return facts;
}

void Worker::OnEvent(Event::Kind kind) {
  const std::lock_guard lock(inquiry_.mutex());
  if (kind == Event::Kind::kReset) {
    ++common_->tally.resets;
    BeginEpochLocked();
    guest_->OnReset();
  }
  poked_ = true;
  inquiry_.WakeLocked();
}

Status Worker::QueueSwitch(BootTime now) {
  {
    const std::lock_guard lock(inquiry_.mutex());
    if (inquiry_.OverdueLocked(now) || inquiry_.FinishedLocked()) {
      return Error(Code::kUnavailable, "its QEMU does not answer");
    }
    if (std::exchange(switching_, true)) return Error(Code::kExists, "already queued");
  }
  Status started = Launch("qemu-switch", [self = shared_from_this()] { self->Switch(); });
  if (!started) {
    const std::lock_guard lock(inquiry_.mutex());
    switching_ = false;
  }
  return started;
}

Status Worker::QueueBalloon(Bytes left, BootTime now) {
  const std::lock_guard lock(inquiry_.mutex());
  if (inquiry_.OverdueLocked(now) || inquiry_.FinishedLocked()) {
    return Error(Code::kUnavailable, "its QEMU does not answer");
  }
  if (!facts_.hinting.balloon.value_or(false)) return Error(Code::kNotFound, "it has no balloon");
  balloon_wish_ = left;
  inquiry_.WakeLocked();
  return Ok();
}

// On a thread and a connection of its own: while libvirt takes its time over a definition, the
// facts of the running QEMU stay fresh. It knows no clock, so that it may outlive the directory.
void Worker::Switch() {
  const auto next = [this]() -> Result<bool> {
    auto qemu = common_->hypervisor->Open(domain_);
    if (!qemu) return qemu.error();
    return SwitchReportingOn(**qemu, domain_.uuid);
  }();
  const std::lock_guard lock(inquiry_.mutex());
  switching_ = false;
  faults_[kSwitch] = next ? "" : next.error().In("switching hinting on").message();
  if (next) facts_.hinting.at_next_start = *next;
}

bool Worker::Dead() const {
  const std::lock_guard lock(inquiry_.mutex());
  return inquiry_.FinishedLocked();
}

void Worker::Run() {
  milliseconds rest{0};
  // A guest can reset in a loop: the least rest bounds what each event costs.
  while (inquiry_.Sleep(std::min(rest, common_->options.least_rest), rest)) {
    const bool good = Round();
    if (good) backoff_.Reset();
    rest = good ? common_->options.refresh : backoff_.Next();
  }
  qemu_.reset();  // may block like any question; nobody waits for it
  inquiry_.Finish();
}

// One turn. False: rest for longer, and longer each time.
bool Worker::Round() {
  const Moment now = inquiry_.now();
  bool prove = now.boot >= proof_due_;
  {
    const std::lock_guard lock(inquiry_.mutex());
    prove = std::exchange(poked_, false) || prove;
    if (std::exchange(reset_, false)) {
      reset_at_ = now.wall;
      eager_until_ = now.boot + kEager;
    }
  }
  if (eager_until_ == BootTime{}) eager_until_ = now.boot + kEager;
  if (!qemu_) prove = true;
  const bool good = EnsureOpen() && (!prove || Prove()) && SetBalloon() && Refresh(prove);
  if (!good) proof_due_ = {};
  return good;
}

// Libvirt's calls, and reading of a process that may be stuck in the kernel. An answer that came
// too late tells that nothing before it is certain any more.
template <typename F>
std::invoke_result_t<F> Worker::Ask(const char* what, F&& question) {
  ++common_->tally.questions;
  auto answer = inquiry_.Ask(what, std::forward<F>(question));
  if (!answer) return Error(Code::kUnavailable, "stopping");
  if (!*answer) ++common_->tally.failures;
  if (inquiry_.late()) {
    ++common_->tally.late;
    const std::lock_guard lock(inquiry_.mutex());
    facts_.stalled = true;
    facts_.hinting.offered.reset();
    facts_.hinting.negotiated.reset();
    facts_.guest = {};
    poked_ = true;
    inquiry_.WakeLocked();
  }
  return std::move(*answer);
}

// Files an error under its part. False: there is no point in asking on.
bool Worker::Carry(Part part, const Error& error) {
  const bool lost = error.code() == Code::kUnavailable;
  const bool ended = part != kProcess && error.code() == Code::kGone;
  const bool timeout = error.code() == Code::kDeadline;
  {
    const std::lock_guard lock(inquiry_.mutex());
    faults_[part] = error.message();
    if (timeout) facts_.stalled = true;
  }
  if (ended || lost) common_->lister.Wake();  // it finds the same sooner
  if ((lost || ended) && qemu_) {
    inquiry_.Ask("closing the connection", [this] {
      qemu_.reset();
      return true;
    });
  }
  return !lost && !ended && !timeout;
}

// An answer that makes no sense. The other questions may still be worth asking.
bool Worker::Note(Part part, const Error& error) {
  const std::lock_guard lock(inquiry_.mutex());
  faults_[part] = error.message();
  return true;
}

void Worker::Answered() {
  const std::lock_guard lock(inquiry_.mutex());
  facts_.answered_at = inquiry_.now().boot;
  facts_.stalled = false;
}

void Worker::BeginEpochLocked() {
  facts_.epoch = ++common_->epochs;
  facts_.hinting.negotiated.reset();
  facts_.autodeflate.reset();
  facts_.guest = {};
  reset_ = true;
}

bool Worker::EnsureOpen() {
  if (qemu_) return true;
  auto opened = Ask("connecting", [this] { return common_->hypervisor->Open(domain_); });
  if (!opened) {
    Carry(kConnection, opened.error());
    return false;
  }
  qemu_ = std::move(*opened);
  ++common_->tally.connections;
  const std::lock_guard lock(inquiry_.mutex());
  faults_[kConnection].clear();
  return true;
}

bool Worker::Prove() {
  if (!ReadDefinitions() || !ReadProcess() || !ProveHinting()) return false;
  const Moment now = inquiry_.now();
  const std::lock_guard lock(inquiry_.mutex());
  const bool pending = facts_.hinting.offered.value_or(false) &&
                       !facts_.hinting.negotiated.value_or(false) && now.boot < eager_until_;
  proof_due_ = now.boot + (pending ? milliseconds(0) : common_->options.proof_period);
  return true;
}

bool Worker::ReadDefinitions() {
  const auto xml = Ask("reading the definition", [this] { return qemu_->Xml(Definition::kLive); });
  if (!xml) return Carry(kDefinition, xml.error());
  const auto& live = live_.Read(*xml);
  if (!live) return Note(kDefinition, live.error());
  const auto text = Ask("reading the persistent definition",
                        [this] { return qemu_->Xml(Definition::kPersistent); });
  const bool transient = !text && text.error().code() == Code::kNotFound;
  if (!text && !transient) return Carry(kDefinition, text.error());
  std::optional<bool> next;
  if (text) {
    const auto& persistent = persistent_.Read(*text);
    if (!persistent) return Note(kDefinition, persistent.error());
    next = persistent->balloon.present && persistent->balloon.free_page_reporting.value_or(false);
  }
  const bool may = MayAsk(common_->guest_rule, live->guest_access);
  guest_->SetUsable(may && live->agent_connected.value_or(false));
  balloon_ = live->balloon;
  guest_memory_ = live->memory;
  const std::lock_guard lock(inquiry_.mutex());
  faults_[kDefinition].clear();
  facts_.spec = ToSpec(*live);
  facts_.spec.id.value = domain_.uuid;
  facts_.spec.name = host::Printable(domain_.name);
  facts_.hinting.balloon = balloon_.present;
  facts_.hinting.at_next_start = next;
  facts_.exempt = live->pinned;
  facts_.agent = !may                     ? GuestAgent::kDenied
                 : !live->agent_connected ? GuestAgent::kNoChannel
                 : *live->agent_connected ? GuestAgent::kReads
                                          : GuestAgent::kNotConnected;
  return true;
}

bool Worker::ReadProcess() {
  const auto pid = Ask("looking for the process", [this] {
    if (common_->process) return common_->process();
    return FindQemu(common_->options.run_dir, common_->options.roots, domain_);
  });
  const std::lock_guard lock(inquiry_.mutex());
  faults_[kProcess] = pid ? "" : pid.error().message();
  facts_.pid = pid ? std::optional(*pid) : std::nullopt;
  if (pid && pid_ && *pid_ != *pid) {  // libvirtd lost count of its starts
    facts_.hinting.offered.reset();
    BeginEpochLocked();
  }
  if (pid) pid_ = *pid;
  return true;
}

bool Worker::ProveHinting() {
  if (!balloon_.present) {
    const std::lock_guard lock(inquiry_.mutex());
    faults_[kProof].clear();
    facts_.hinting.offered.reset();
    facts_.hinting.negotiated.reset();
    facts_.autodeflate.reset();
    return true;
  }
  std::uint64_t epoch = 0;
  {
    const std::lock_guard lock(inquiry_.mutex());
    epoch = facts_.epoch;
  }
  const auto status = Query("asking QEMU what the guest took", AskVirtioStatus(balloon_.alias));
  if (!status && !Carry(kProof, status.error())) return false;
  const auto took = status ? ParseVirtioStatus(*status) : Result<VirtioStatus>(status.error());
  Result<bool> on = false;
  if (took && took->offered) {
    on = *took->offered;
  } else {  // an old QEMU, or one that may yet know this much
    const auto offered =
        Query("asking QEMU whether it offers hinting", AskIfReportingIsOffered(balloon_.alias));
    if (!offered && !Carry(kProof, offered.error())) return false;
    on = offered ? ParseQomBool(*offered) : Result<bool>(offered.error());
  }
  const std::lock_guard lock(inquiry_.mutex());
  facts_.hinting.offered = on ? std::optional(*on) : std::nullopt;
  facts_.hinting.negotiated.reset();
  facts_.autodeflate.reset();
  // A reset while the question was open: the answer is about the guest before it.
  if (took && epoch == facts_.epoch) {
    facts_.hinting.negotiated = took->reporting && took->driver_ok;
    facts_.autodeflate = took->deflates && took->driver_ok;
  }
  faults_[kProof] = !on ? on.error().message() : !took ? took.error().message() : "";
  return true;
}

Result<std::string> Worker::Query(const char* what, const Result<std::string>& command) {
  if (!command) return command.error();
  return Ask(what, [&] { return qemu_->Qmp(*command); });
}

// A wish that failed is not kept: the policy sees that nothing moved and wishes again.
bool Worker::SetBalloon() {
  std::optional<Bytes> wish;
  {
    const std::lock_guard lock(inquiry_.mutex());
    wish = std::exchange(balloon_wish_, std::nullopt);
  }
  if (!wish || guest_memory_ == Bytes::Max()) return true;
  const Bytes left = Clamp(*wish, Bytes::MiB(1), guest_memory_);
  const auto set = Ask("setting the balloon", [&] {
    return qemu_->SetBalloon(static_cast<std::uint64_t>(left.count() / 1024));
  });
  if (!set) return Carry(kBalloon, set.error().In("setting the balloon"));
  const std::lock_guard lock(inquiry_.mutex());
  faults_[kBalloon].clear();
  return true;
}

// A QEMU that has a balloon proves by it that it answers; libvirt tells of each change of state.
bool Worker::Refresh(bool prove) {
  std::optional<ullage::Run> run;
  if (prove || !common_->options.state_by_event || !balloon_.present) {
    const auto state = Ask("asking for the state", [this] { return qemu_->State(); });
    if (!state) return Carry(kStatistics, state.error());
    run = *state;
  }
  std::optional<BalloonReport> report;
  if (balloon_.present) {
    const auto balloon = Ask("asking for the balloon", [this] { return qemu_->Balloon(); });
    if (!balloon && !Carry(kStatistics, balloon.error())) return false;
    if (balloon) report = *balloon;
    if (!balloon) proof_due_ = {};  // the next turn asks for everything
  }
  if (run || report) Answered();
  const Moment now = inquiry_.now();
  std::uint64_t implausible = 0;
  const std::lock_guard lock(inquiry_.mutex());
  if (run) facts_.run = *run;
  if (report || !balloon_.present) faults_[kStatistics].clear();
  facts_.guest = {};
  if (report && !reset_) {
    facts_.guest = ReadGuestStats(*report, guest_memory_, reset_at_, now.wall, implausible);
  }
  common_->tally.implausible += implausible;
  return true;
}

}  // namespace ullage::qemu
