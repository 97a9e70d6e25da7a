// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/channel.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <system_error>

#include "node-agent/api/target.h"
#include "node-agent/host/file.h"
#include "node-agent/host/text.h"
#include "ullage/v1/node_agent.grpc.pb.h"

namespace ullage::clients {
namespace {

// A snapshot of 1,000 VMs is some 500 KiB; a larger answer is no agent's.
constexpr int kMaxAnswerBytes = 16 << 20;

Code FromGrpc(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Code::kInvalid;
    case grpc::StatusCode::NOT_FOUND:
      return Code::kNotFound;
    case grpc::StatusCode::PERMISSION_DENIED:
      return Code::kDenied;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
      return Code::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Code::kDeadline;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Code::kExhausted;
    default:
      return Code::kInternal;
  }
}

Error ToError(const grpc::Status& status, const std::string& socket) {
  const std::string message = host::Printable(status.error_message(), 4096);
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {Code::kDeadline,
              "the agent on " + host::Printable(socket) + " did not answer in time"};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Code::kInternal,
              "who answers on " + host::Printable(socket) + " does not speak ullage.v1"};
    default:
      return {FromGrpc(status.error_code()), message};
  }
}

}  // namespace

struct AgentClient::Connection {
  std::unique_ptr<v1::NodeAgent::Stub> stub;
  std::mutex mutex;
  grpc::ClientContext* watch = nullptr;  // of the running Watch
  bool cancelled = false;
};

AgentClient::AgentClient(std::string socket)
    : socket_(std::move(socket)), connection_(std::make_unique<Connection>()) {}

AgentClient::~AgentClient() = default;

// Late, so that a caller who only asks Reachable() never starts gRPC.
AgentClient::Connection& AgentClient::connection() {
  if (!connection_->stub) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
    // A failed attempt must not make the next one wait: channels share nothing.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    connection_->stub = v1::NodeAgent::NewStub(grpc::CreateCustomChannel(
        api::UnixTarget(socket_), grpc::InsecureChannelCredentials(), arguments));
  }
  return *connection_;
}

Status AgentClient::Reachable() const {
  const std::string shown = host::Printable(socket_);
  if (socket_.empty() || socket_.size() > api::kSocketPathLimit) {
    return Error(Code::kInvalid, "socket '" + shown + "' is no path of 1 to 107 bytes");
  }
  const host::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return host::FromErrno(errno, "making a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof address.sun_path - 1);
  const int rc = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (rc == 0 || errno == EAGAIN) return Ok();
  switch (errno) {
    case ENOENT:
    case ENOTDIR:
      return Error(Code::kUnavailable,
                   "no agent: there is no socket " + shown + " (is ullage-agent running?)");
    case ECONNREFUSED:
      return Error(Code::kUnavailable,
                   "no agent: nobody listens on " + shown + " (is ullage-agent running?)");
    case EACCES:
    case EPERM:
      return Error(Code::kDenied, "no permission for " + shown + ": try again as root");
    default:
      return Error(Code::kUnavailable, shown + ": " + std::system_category().message(errno));
  }
}

// One unary call; `method` is the stub's.
template <typename Request, typename Response, typename Method>
static Result<Response> Call(v1::NodeAgent::Stub& stub, Method method, const Request& request,
                             const std::string& socket, milliseconds deadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return ToError(status, socket);
  return response;
}

Result<v1::Snapshot> AgentClient::GetSnapshot(milliseconds deadline) {
  const Status reachable = Reachable();
  if (!reachable) return reachable.error();
  return Call<v1::GetSnapshotRequest, v1::Snapshot>(
      *connection().stub, &v1::NodeAgent::Stub::GetSnapshot, {}, socket_, deadline);
}

Result<v1::Explanation> AgentClient::Explain(const std::string& vm, std::optional<WallTime> at,
                                             milliseconds deadline) {
  const Status reachable = Reachable();
  if (!reachable) return reachable.error();
  v1::ExplainRequest request;
  request.set_vm(host::Printable(vm));  // the agent knows names as it shows them
  if (at) {
    request.set_at_unix_ms(
        std::chrono::duration_cast<milliseconds>(at->time_since_epoch()).count());
  }
  return Call<v1::ExplainRequest, v1::Explanation>(
      *connection().stub, &v1::NodeAgent::Stub::Explain, request, socket_, deadline);
}

Result<v1::History> AgentClient::GetHistory(seconds horizon, milliseconds deadline) {
  const Status reachable = Reachable();
  if (!reachable) return reachable.error();
  v1::GetHistoryRequest request;
  request.set_horizon_seconds(static_cast<std::uint32_t>(horizon.count()));
  return Call<v1::GetHistoryRequest, v1::History>(
      *connection().stub, &v1::NodeAgent::Stub::GetHistory, request, socket_, deadline);
}

Result<v1::ReserveResponse> AgentClient::Reserve(const v1::ReserveRequest& request,
                                                 milliseconds deadline) {
  return Call<v1::ReserveRequest, v1::ReserveResponse>(
      *connection().stub, &v1::NodeAgent::Stub::Reserve, request, socket_, deadline);
}

Result<v1::ReleaseResponse> AgentClient::Release(const std::string& uuid, milliseconds deadline) {
  v1::ReleaseRequest request;
  request.set_uuid(uuid);
  return Call<v1::ReleaseRequest, v1::ReleaseResponse>(
      *connection().stub, &v1::NodeAgent::Stub::Release, request, socket_, deadline);
}

Status AgentClient::Watch(const std::function<bool(const v1::Snapshot&)>& each) {
  const Status reachable = Reachable();
  if (!reachable) return reachable.error();
  Connection& to = connection();
  grpc::ClientContext context;
  {
    const std::lock_guard lock(to.mutex);
    if (to.cancelled) return Ok();
    to.watch = &context;
  }
  const auto stream = to.stub->WatchSnapshots(&context, {});
  v1::Snapshot snapshot;
  bool enough = false;
  while (!enough && stream->Read(&snapshot)) enough = !each(snapshot);
  if (enough) context.TryCancel();
  const grpc::Status status = stream->Finish();
  const std::lock_guard lock(to.mutex);
  to.watch = nullptr;
  if (enough || to.cancelled) return Ok();
  if (status.ok()) return Error(Code::kUnavailable, "the agent ended the watch");
  return ToError(status, socket_);
}

void AgentClient::Cancel() {
  const std::lock_guard lock(connection_->mutex);
  connection_->cancelled = true;
  if (connection_->watch != nullptr) connection_->watch->TryCancel();
}

void QuietGrpc() { setenv("GRPC_VERBOSITY", "NONE", 0); }

}  // namespace ullage::clients
