// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_agent_service.h"

#include <string>

#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/requests.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

// How long a watch sleeps before it asks whether its reader is still there.
constexpr milliseconds kNap{250};

grpc::Status ToGrpc(const Error& error) {
  switch (error.code()) {
    case Code::kInvalid:
      return {grpc::StatusCode::INVALID_ARGUMENT, error.message()};
    case Code::kNotFound:
    case Code::kGone:
      return {grpc::StatusCode::NOT_FOUND, error.message()};
    case Code::kDenied:
      return {grpc::StatusCode::PERMISSION_DENIED, error.message()};
    case Code::kUnavailable:
      return {grpc::StatusCode::UNAVAILABLE, error.message()};
    case Code::kDeadline:
      return {grpc::StatusCode::DEADLINE_EXCEEDED, error.message()};
    case Code::kExists:
      return {grpc::StatusCode::ALREADY_EXISTS, error.message()};
    case Code::kExhausted:
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, error.message()};
    case Code::kInternal:
      break;
  }
  return {grpc::StatusCode::INTERNAL, error.message()};
}

grpc::Status NotYet() {
  return {grpc::StatusCode::UNAVAILABLE, "the agent has just started: its first tick is not done"};
}

grpc::Status NoGate() {
  return {grpc::StatusCode::FAILED_PRECONDITION,
          "this agent admits no VMs: it does not run with --standalone"};
}

grpc::Status NoRecorder() {
  return {grpc::StatusCode::FAILED_PRECONDITION, "this agent writes nothing down"};
}

// Counts one caller for as long as it lives.
class Seat {
 public:
  Seat(std::atomic<int>& taken, int limit) : taken_(taken), got_(++taken <= limit) {}
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  ~Seat() { --taken_; }
  bool got() const { return got_; }

 private:
  std::atomic<int>& taken_;
  const bool got_;
};

}  // namespace

grpc::Status NodeAgentService::GetSnapshot(grpc::ServerContext*, const v1::GetSnapshotRequest*,
                                           v1::Snapshot* response) {
  const auto report = bulletin_.Latest();
  if (!report) return NotYet();
  *response = ToProto(*report);
  return grpc::Status::OK;
}

grpc::Status NodeAgentService::WatchSnapshots(grpc::ServerContext* context,
                                              const v1::WatchSnapshotsRequest*,
                                              grpc::ServerWriter<v1::Snapshot>* writer) {
  const Seat seat(watchers_, max_watchers_);
  if (!seat.got()) {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "already " + std::to_string(max_watchers_) +
                                                      " readers watch: end one, or ask for "
                                                      "single snapshots"};
  }
  return Watch(*context, *writer);
}

grpc::Status NodeAgentService::Watch(grpc::ServerContext& context,
                                     grpc::ServerWriter<v1::Snapshot>& writer) {
  auto report = bulletin_.Latest();
  std::uint64_t seen = 0;
  while (!context.IsCancelled()) {
    if (stopping_ || bulletin_.closed()) {
      return {grpc::StatusCode::UNAVAILABLE, "the agent is shutting down"};
    }
    if (report) {
      seen = report->tick;
      if (!writer.Write(ToProto(*report))) break;
    }
    report = bulletin_.Newer(seen, kNap);
  }
  return grpc::Status::CANCELLED;
}

grpc::Status NodeAgentService::Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                                       v1::Explanation* response) {
  if (request->vm().empty() || request->vm().size() > kMaxNameBytes) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "vm must be a name or a UUID, at most 4 KiB"};
  }
  Result<v1::Explanation> explanation = v1::Explanation();
  if (request->has_at_unix_ms()) {
    if (recorder_ == nullptr) return NoRecorder();
    if (request->at_unix_ms() < 0 || request->at_unix_ms() > kLastMoment * 1000) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "at_unix_ms is no moment"};
    }
    explanation = recorder_->ExplainAt(request->vm(), WallTimeOf(request->at_unix_ms()));
  } else {
    const auto report = bulletin_.Latest();
    if (!report) return NotYet();
    explanation = publishers::Explain(*report, request->vm());
  }
  if (!explanation) return ToGrpc(explanation.error());
  *response = *std::move(explanation);
  return grpc::Status::OK;
}

grpc::Status NodeAgentService::GetHistory(grpc::ServerContext*,
                                          const v1::GetHistoryRequest* request,
                                          v1::History* response) {
  if (recorder_ == nullptr) return NoRecorder();
  *response = recorder_->HistoryOver(seconds(request->horizon_seconds()));
  return grpc::Status::OK;
}

grpc::Status NodeAgentService::Reserve(grpc::ServerContext* context,
                                       const v1::ReserveRequest* request,
                                       v1::ReserveResponse* response) {
  if (gate_ == nullptr) return NoGate();
  const Result<VmSpec> spec = ParseReserve(*request);
  if (!spec) return ToGrpc(spec.error());
  // A call may wait long for its thread. Nobody starts the VM of a caller that gave up, and nobody
  // releases what would be reserved for it.
  if (context->IsCancelled()) return {grpc::StatusCode::CANCELLED, "the caller has gone"};
  const Verdict verdict = gate_->Reserve(*spec, request->running());
  const auto size = [](Bytes bytes) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(bytes.count(), 0));
  };
  response->set_admitted(verdict.admitted);
  response->set_reason(Text(verdict.reason));
  response->set_promised(size(verdict.promised));
  response->set_ordinary(size(verdict.ordinary));
  response->set_reclaimed(size(verdict.reclaimed));
  return grpc::Status::OK;
}

grpc::Status NodeAgentService::Release(grpc::ServerContext*, const v1::ReleaseRequest* request,
                                       v1::ReleaseResponse* response) {
  if (gate_ == nullptr) return NoGate();
  const Result<VmId> id = ParseUuid(request->uuid());
  if (!id) return ToGrpc(id.error());
  response->set_known(gate_->Release(*id));
  return grpc::Status::OK;
}

}  // namespace ullage::publishers
