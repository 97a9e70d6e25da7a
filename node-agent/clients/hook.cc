// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/hook.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <thread>

#include "node-agent/clients/channel.h"
#include "node-agent/host/text.h"
#include "qemu-backend/domain_xml.h"

namespace ullage::clients {
namespace {

using Steady = std::chrono::steady_clock;

constexpr milliseconds kRetry{200};
constexpr milliseconds kShortestTry{1000};  // an answer is on the disk before it is given
constexpr milliseconds kShortWait{2000};    // where nothing depends on the answer
constexpr milliseconds kInputPatience{10000};
constexpr std::size_t kNameLimit = 4096;

std::string Shown(const HookCall& call) { return "'" + host::Printable(call.object) + "'"; }

// All of standard input; libvirt closes it when the XML is written.
Result<std::string> ReadInput(int fd, std::size_t limit) {
  std::string text;
  std::array<char, 16384> part{};
  while (text.size() <= limit) {
    pollfd ready{fd, POLLIN, 0};
    const int polled = poll(&ready, 1, static_cast<int>(kInputPatience.count()));
    if (polled < 0 && errno == EINTR) continue;
    if (polled == 0) return Error(Code::kDeadline, "no domain XML on standard input");
    const ssize_t got = read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error(Code::kInternal, "standard input cannot be read");
    if (got == 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return Error(Code::kInvalid, "the domain XML is longer than " + std::to_string(limit) + " bytes");
}

Result<qemu::DomainFacts> ReadDomain(int fd) {
  const Result<std::string> xml = ReadInput(fd, qemu::kDomainXmlLimit);
  if (!xml) return xml.error();
  return qemu::ParseDomainXml(*xml);
}

v1::ReserveRequest ToRequest(const qemu::DomainFacts& facts, const HookCall& call, bool running) {
  v1::ReserveRequest request;
  request.set_name(call.object.substr(0, kNameLimit));
  request.set_uuid(facts.uuid);
  request.set_guest_memory(
      static_cast<std::uint64_t>(std::max<std::int64_t>(facts.memory.count(), 0)));
  request.set_vcpus(facts.vcpus);
  request.set_placement(Name(facts.placement));
  request.set_reclaim(Name(facts.reclaim));
  request.set_running(running);
  return request;
}

// Whether asking again may help: the agent restarts, has not ticked yet, or is asked by so many
// hooks at once that it has no thread left. That there is no room is an answer and no error.
bool MayPass(const Error& error) {
  return error.code() == Code::kUnavailable || error.code() == Code::kDeadline ||
         error.code() == Code::kExhausted;
}

// Asks until there is an answer or the wait is over, and no try outlasts it by more than the
// shortest: whoever types `virsh start` waits meanwhile. Reserve and Release may both be asked
// again.
template <typename Response>
Result<Response> Ask(AgentClient& client, milliseconds wait,
                     const std::function<Result<Response>(milliseconds deadline)>& call) {
  const auto end = Steady::now() + wait;
  for (;;) {
    const Status reachable = client.Reachable();
    const auto left = std::chrono::duration_cast<milliseconds>(end - Steady::now());
    Result<Response> answer =
        reachable ? call(std::max(kShortestTry, left)) : Result<Response>(reachable.error());
    if (answer || !MayPass(answer.error())) return answer;
    if (Steady::now() + kRetry >= end) return answer;
    std::this_thread::sleep_for(kRetry);
  }
}

Result<v1::ReserveResponse> Reserve(const HookCall& call, const HookOptions& options,
                                    const qemu::DomainFacts& facts, bool running) {
  AgentClient client(options.socket);
  const v1::ReserveRequest request = ToRequest(facts, call, running);
  const milliseconds wait = running ? std::min(options.wait, kShortWait) : options.wait;
  return Ask<v1::ReserveResponse>(
      client, wait, [&](milliseconds deadline) { return client.Reserve(request, deadline); });
}

std::string Advice(const Error& error, const HookCall& call, const HookOptions& options) {
  if (!MayPass(error)) return "";
  const char* first =
      error.code() == Code::kExhausted ? "start fewer VMs at once" : "start ullage-agent";
  return ". Nobody can say whether it fits (waited " +
         std::to_string(std::chrono::duration_cast<seconds>(options.wait).count()) +
         " s): " + first + ", or remove " + call.program + " to start VMs without admission";
}

int Prepare(const HookCall& call, const Result<HookOptions>& options, std::ostream& err) {
  const std::string refused = "ullage refuses to start " + Shown(call) + ": ";
  if (!options) {
    err << refused << options.error().message() << '\n';
    return 1;
  }
  const auto facts = ReadDomain(call.input);
  if (!facts) {
    err << refused << facts.error().message() << '\n';
    return 1;
  }
  const auto answer = Reserve(call, *options, *facts, false);
  if (!answer) {
    err << refused << answer.error().message() << Advice(answer.error(), call, *options) << '\n';
    return 1;
  }
  if (answer->admitted()) return 0;
  err << refused << host::Printable(answer->reason(), 1024) << '\n';
  return 1;
}

// The VM runs already, whatever anybody says; an agent that is down counts it when it is back.
int Reconnect(const HookCall& call, const Result<HookOptions>& options, std::ostream& err) {
  const auto facts = ReadDomain(call.input);
  if (!options || !facts) {
    err << "ullage: " << Shown(call) << " is not counted yet: "
        << (options ? facts.error().message() : options.error().message()) << '\n';
    return 0;
  }
  const auto answer = Reserve(call, *options, *facts, true);
  if (!answer) err << "ullage: " << Shown(call) << ": " << answer.error().message() << '\n';
  return 0;
}

// The agent also finds out by itself that a VM is gone; this only makes it sooner.
int Release(const HookCall& call, const Result<HookOptions>& options, std::ostream& err) {
  const auto facts = ReadDomain(call.input);
  if (!options || !facts) {
    err << "ullage: " << Shown(call) << " is not released yet: "
        << (options ? facts.error().message() : options.error().message()) << '\n';
    return 0;
  }
  AgentClient client(options->socket);
  const auto answer = Ask<v1::ReleaseResponse>(
      client, std::min(options->wait, kShortWait),
      [&](milliseconds deadline) { return client.Release(facts->uuid, deadline); });
  if (!answer) err << "ullage: " << Shown(call) << ": " << answer.error().message() << '\n';
  return 0;
}

}  // namespace

int RunHook(const HookCall& call, const Result<HookOptions>& options, std::ostream& err) {
  const std::string step = call.operation + " " + call.sub_operation;
  if (step == "prepare begin") return Prepare(call, options, err);
  if (step == "reconnect begin") return Reconnect(call, options, err);
  if (step == "release end") return Release(call, options, err);
  return 0;
}

}  // namespace ullage::clients
