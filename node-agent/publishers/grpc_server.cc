// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <mutex>

#include "node-agent/api/listen.h"
#include "node-agent/publishers/node_agent_service.h"
#include "node-agent/publishers/socket_claim.h"

namespace ullage::publishers {
namespace {

// Requests are a name and some numbers; what does not fit is no request.
constexpr int kMaxRequestBytes = 64 * 1024;
// Calls other than watches that may run at once; Reserve is quick.
constexpr int kOtherCalls = 8;
constexpr std::size_t kMaxBufferBytes = std::size_t{4} << 20;

// Health and reflection are process-wide switches of gRPC's builder.
void SwitchOnStandardServices() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

struct GrpcServer::Parts {
  Parts(SocketClaim taken, const GrpcServerOptions& options, const Bulletin& bulletin,
        AdmissionGate* gate)
      : claim(std::move(taken)),
        service(bulletin, gate, options.recorder, options.max_watchers),
        patience(options.stop_patience) {}

  SocketClaim claim;
  NodeAgentService service;
  milliseconds patience;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

GrpcServer::~GrpcServer() { Stop(); }

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                      const Bulletin& bulletin,
                                                      AdmissionGate* gate) {
  Result<SocketClaim> claim = SocketClaim::Take(options.socket);
  if (!claim) return claim.error();
  auto parts = std::make_unique<Parts>(*std::move(claim), options, bulletin, gate);

  SwitchOnStandardServices();
  grpc::ResourceQuota quota("ullage");
  quota.SetMaxThreads(options.max_watchers + kOtherCalls);
  quota.Resize(kMaxBufferBytes);
  grpc::ServerBuilder builder;
  builder.RegisterService(&parts->service);
  parts->server = api::ListenOn(builder, quota, parts->claim.staging_path(), kMaxRequestBytes);
  if (!parts->server) {
    return Error(Code::kInternal, "gRPC cannot listen on " + options.socket);
  }
  const Status published = parts->claim.Publish();
  if (!published) return published.error();
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(parts)));
}

void GrpcServer::Stop() {
  if (!parts_) return;
  parts_->service.StopWatches();
  parts_->server->Shutdown(std::chrono::system_clock::now() + parts_->patience);
  parts_->server->Wait();
  parts_.reset();
}

}  // namespace ullage::publishers
