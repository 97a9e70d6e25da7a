// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/guest_link.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "node-agent/host/file.h"
#include "qemu-backend/guest_agent.h"
#include "qemu-backend/thread.h"
#include "qemu-backend/worker.h"

namespace ullage::qemu {
namespace {

constexpr milliseconds kLeastRest{100};
constexpr milliseconds kAsleep{3600000};
// A guest that has nothing to say is asked this many periods apart, in the end.
constexpr int kRareness = 30;

std::string Path(const std::string& below) {
  return std::string(host::kGuestModules) + "/ullage_balloon/" + below;
}

std::uint32_t Seed(const std::string& uuid) {
  return static_cast<std::uint32_t>(std::hash<std::string>{}(uuid)) + 1;
}

GuestAgent StateAfter(const Error& error) {
  switch (error.code()) {
    case Code::kDeadline:
      return GuestAgent::kSilent;
    case Code::kInternal:
    case Code::kInvalid:
      return GuestAgent::kNoModule;
    default:
      return GuestAgent::kNotConnected;
  }
}

// What only rises while a driver stays bound.
bool Fell(const GuestModule& before, const GuestModule& now) {
  const auto other = [](const GuestModule& module, const char* name) {
    const auto at = module.other.find(name);
    return at == module.other.end() ? std::optional<std::uint64_t>() : at->second;
  };
  const auto fell = [](const auto& was, const auto& is) { return was && is && *is < *was; };
  return fell(before.reported, now.reported) || fell(before.report_errors, now.report_errors) ||
         fell(other(before, "passes"), other(now, "passes")) ||
         fell(other(before, "stats_updates"), other(now, "stats_updates"));
}

}  // namespace

GuestLink::GuestLink(std::shared_ptr<Common> common, const DomainRef& domain)
    : common_(std::move(common)),
      domain_(domain),
      inquiry_(common_->clock, common_->options.deadline),
      backoff_(common_->options.guest_read_every, common_->options.guest_read_every * kRareness,
               Seed(domain.uuid)) {}

GuestLink::Word GuestLink::Latest(BootTime now) const {
  const std::lock_guard lock(inquiry_.mutex());
  if (!usable_) return {};
  const auto overdue = inquiry_.OverdueLocked(now);
  if (!overdue) return word_;
  return {GuestAgent::kSilent, std::string("no answer in time: ") + overdue->question, {}};
}

void GuestLink::SetUsable(bool usable) {
  const std::lock_guard lock(inquiry_.mutex());
  if (stopped_ || std::exchange(usable_, usable) == usable) return;
  word_ = {};
  wishes_.clear();
  fresh_ = true;
  if (usable && !started_) {
    const Status launched = Launch("qemu-guest", [self = shared_from_this()] { self->Run(); });
    started_ = launched.ok();
    if (!launched) word_.fault = launched.error().message();
    usable_ = started_;  // tried again with the next look at the definition
  }
  inquiry_.WakeLocked();
}

void GuestLink::OnReset() {
  const std::lock_guard lock(inquiry_.mutex());
  word_ = {};
  wishes_.clear();
  fresh_ = reset_ = true;
  inquiry_.WakeLocked();
}

Status GuestLink::QueueWrite(const std::string& parameter, const std::string& value, BootTime now) {
  const GuestParameter* known = FindGuestParameter(parameter);
  if (known == nullptr || Canonical(*known, value) != value) {
    return Error(Code::kInvalid, "no such parameter, or out of its bounds");
  }
  const std::lock_guard lock(inquiry_.mutex());
  if (stopped_ || !usable_ || word_.state != GuestAgent::kReads || inquiry_.OverdueLocked(now)) {
    return Error(Code::kUnavailable, "its guest agent does not answer");
  }
  wishes_[parameter] = value;
  inquiry_.WakeLocked();
  return Ok();
}

void GuestLink::Stop() {
  {
    const std::lock_guard lock(inquiry_.mutex());
    stopped_ = true;
  }
  inquiry_.Stop();
}

bool GuestLink::AwaitExit(milliseconds patience) {
  {
    const std::lock_guard lock(inquiry_.mutex());
    if (!started_) return true;
  }
  return inquiry_.AwaitExit(patience);
}

void GuestLink::Run() {
  milliseconds rest{0};
  while (inquiry_.Sleep(std::min(rest, kLeastRest), rest)) rest = Turn();
  qemu_.reset();  // may block; nobody waits for it
  inquiry_.Finish();
}

milliseconds GuestLink::Turn() {
  bool usable = false;
  std::map<std::string, std::string> writes;
  {
    const std::lock_guard lock(inquiry_.mutex());
    usable = usable_;
    writes = std::exchange(wishes_, {});
    if (std::exchange(fresh_, false)) {
      due_ = {};
      backoff_.Reset();
    }
    if (std::exchange(reset_, false)) {
      written_.clear();
      last_.reset();
    }
  }
  if (!usable) {
    qemu_.reset();
    return kAsleep;
  }
  const BootTime now = inquiry_.now().boot;
  if (now < due_ && writes.empty()) return std::chrono::ceil<milliseconds>(due_ - now);
  const Status visited = Visit(writes);
  milliseconds rest = common_->options.guest_read_every;
  if (visited) {
    backoff_.Reset();
  } else {
    Fail(visited.error());
    rest = backoff_.Next();
  }
  due_ = inquiry_.now().boot + rest;
  return rest;
}

Status GuestLink::Visit(const std::map<std::string, std::string>& writes) {
  complaint_.clear();
  late_ = false;
  if (Status opened = EnsureOpen(); !opened) return opened;
  for (const auto& [name, value] : writes) {
    const Status written = WriteParameter(name, value);
    if (written) continue;
    const Error error = written.error().In("setting " + name);
    if (StateAfter(error) != GuestAgent::kNoModule) return error;
    complaint_ = error.message();  // the guest's driver or its agent refuses: no reason to stop
  }
  auto module = ReadModule();
  if (!module) return module.error();
  ReadParameters(*module);
  if (late_) return Error(Code::kDeadline, "the guest agent answered too late");
  Publish(std::move(*module));
  return Ok();
}

Status GuestLink::EnsureOpen() {
  if (qemu_) return Ok();
  auto asked = inquiry_.Ask("connecting for the guest agent",
                            [this] { return common_->hypervisor->OpenBeside(domain_); });
  if (!asked) return Error(Code::kUnavailable, "stopping");
  if (!*asked) return asked->error();
  qemu_ = std::move(**asked);
  ++common_->tally.connections;
  return Ok();
}

// A question with the deadline as the guest agent's own, too; libvirt knows whole seconds.
template <typename T>
Result<T> GuestLink::Tell(const char* what, const std::string& command,
                          Result<T> (*parse)(std::string_view reply)) {
  ++common_->tally.guest_questions;
  const seconds patience = std::chrono::ceil<seconds>(common_->options.deadline);
  const auto asked = inquiry_.Ask(what, [&] { return qemu_->GuestAgent(command, patience); });
  if (!asked) return Error(Code::kUnavailable, "stopping");
  if (inquiry_.late()) {
    ++common_->tally.guest_late;
    late_ = true;
  }
  if (!*asked) {
    ++common_->tally.guest_failures;
    return asked->error();
  }
  auto answer = parse(**asked);
  if (!answer) ++common_->tally.guest_refused;
  return answer;
}

Result<std::string> GuestLink::ReadFile(const std::string& path) {
  const auto handle = Tell("opening a file in the guest", AskOpen(path, "r"), ParseHandle);
  if (!handle) return handle.error();
  auto content = Tell("reading a file in the guest", AskRead(*handle), ParseContent);
  if (!content && StateAfter(content.error()) != GuestAgent::kNoModule) return content;
  const Status closed = Tell("closing a file in the guest", AskClose(*handle), ParseEmpty);
  if (!closed) return closed.error();
  return content;
}

// The agent hands the content to the driver when it closes the file: a refusal shows there. A
// handle whose closing failed is gone; qemu-ga 7.2 crashes when it is closed again.
Status GuestLink::WriteFile(const std::string& path, const std::string& content) {
  const auto handle = Tell("opening a parameter in the guest", AskOpen(path, "w"), ParseHandle);
  if (!handle) return handle.error();
  const auto count =
      Tell("writing a parameter in the guest", AskWrite(*handle, content), ParseCount);
  if (!count && StateAfter(count.error()) != GuestAgent::kNoModule) return count.error();
  Status closed = Tell("closing a parameter in the guest", AskClose(*handle), ParseEmpty);
  if (!closed) return closed;
  if (!count) return count.error();
  return Ok();
}

Result<GuestModule> GuestLink::ReadModule() {
  const auto text = ReadFile(Path("summary"));
  if (!text) return text.error();
  std::uint64_t refused = 0;
  auto module = ParseSummary(*text, refused);
  common_->tally.guest_refused += refused;
  return module;
}

void GuestLink::ReadParameters(GuestModule& module) {
  for (const std::string& name : common_->options.guest_parameters) {
    const GuestParameter* known = FindGuestParameter(name);
    if (known == nullptr || late_) continue;
    const auto text = ReadFile(Path("parameters/" + name));
    const auto value = text ? Canonical(*known, *text) : std::nullopt;
    if (value) module.parameters[name] = *value;
    if (!text) complaint_ = text.error().In("reading parameter " + name).message();
    if (text && !value) ++common_->tally.guest_refused;
  }
}

Status GuestLink::WriteParameter(const std::string& name, const std::string& value) {
  const std::string path = Path("parameters/" + name);
  if (Status written = WriteFile(path, value); !written) return written;
  const auto text = ReadFile(path);
  if (!text) return text.error();
  if (Canonical(*FindGuestParameter(name), *text) != value) {
    return Error(Code::kInvalid, "the guest still shows another value");
  }
  written_[name] = value;
  return Ok();
}

// A driver that was loaded anew counts from zero and has its own parameters again.
void GuestLink::NoteLoad(const GuestModule& module) {
  if (last_ && Fell(*last_, module)) written_.clear();
  last_ = module;
}

void GuestLink::Publish(GuestModule&& module) {
  NoteLoad(module);
  module.written = written_;
  module.read_at = inquiry_.now().boot;
  const std::lock_guard lock(inquiry_.mutex());
  if (reset_ || !usable_) return;  // it is another guest's word by now
  word_ = {GuestAgent::kReads, complaint_, std::move(module)};
}

void GuestLink::Fail(const Error& error) {
  const GuestAgent state = StateAfter(error);
  if (state == GuestAgent::kNoModule) written_.clear();
  if (error.code() == Code::kUnavailable || error.code() == Code::kGone) qemu_.reset();
  const std::lock_guard lock(inquiry_.mutex());
  if (reset_ || !usable_) return;
  word_ = {state, error.message(), {}};
}

}  // namespace ullage::qemu
