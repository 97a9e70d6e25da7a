// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/fake_agent.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include "node-agent/api/target.h"
#include "ullage/v1/node_agent.grpc.pb.h"

namespace ullage::clients {

struct FakeAgent::Parts : v1::NodeAgent::Service {
  explicit Parts(FakeAgent& told) : agent(told) {}

  grpc::Status GetSnapshot(grpc::ServerContext*, const v1::GetSnapshotRequest*,
                           v1::Snapshot* response) override {
    *response = agent.snapshot;
    return grpc::Status::OK;
  }
  grpc::Status WatchSnapshots(grpc::ServerContext* context, const v1::WatchSnapshotsRequest*,
                              grpc::ServerWriter<v1::Snapshot>* writer) override {
    v1::Snapshot next = agent.snapshot;
    while (!context->IsCancelled() && writer->Write(next)) {
      next.set_tick(next.tick() + 1);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return grpc::Status::CANCELLED;
  }
  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::Explanation* response) override {
    for (const v1::Vm& vm : agent.snapshot.vms()) {
      if (vm.name() != request->vm()) continue;
      *response->mutable_vm() = vm;
      response->add_lines("It was promised something.");
      if (request->has_at_unix_ms()) {
        response->add_lines("At " + std::to_string(request->at_unix_ms()) + ".");
      }
      return grpc::Status::OK;
    }
    return {grpc::StatusCode::NOT_FOUND, "no VM has the name or UUID '" + request->vm() + "'"};
  }
  grpc::Status GetHistory(grpc::ServerContext*, const v1::GetHistoryRequest* request,
                          v1::History* response) override {
    response->set_minutes(90);
    response->set_horizon_seconds(request->horizon_seconds());
    return grpc::Status::OK;
  }
  grpc::Status Reserve(grpc::ServerContext*, const v1::ReserveRequest* request,
                       v1::ReserveResponse* response) override {
    const std::lock_guard lock(mutex);
    if (agent.unavailable-- > 0) return {grpc::StatusCode::UNAVAILABLE, "starting"};
    if (agent.exhausted-- > 0) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "Server Threadpool Exhausted"};
    }
    if (!agent.invalid.empty()) return {grpc::StatusCode::INVALID_ARGUMENT, agent.invalid};
    reserved.push_back(*request);
    response->set_admitted(agent.admits);
    response->set_reason(agent.reason);
    return grpc::Status::OK;
  }
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest* request,
                       v1::ReleaseResponse*) override {
    const std::lock_guard lock(mutex);
    released.push_back(request->uuid());
    return grpc::Status::OK;
  }

  FakeAgent& agent;
  std::mutex mutex;
  std::vector<v1::ReserveRequest> reserved;
  std::vector<std::string> released;
  std::unique_ptr<grpc::Server> server;
};

FakeAgent::FakeAgent(const std::string& socket) : parts_(std::make_unique<Parts>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(api::UnixTarget(socket), grpc::InsecureServerCredentials());
  builder.RegisterService(parts_.get());
  parts_->server = builder.BuildAndStart();
}

FakeAgent::~FakeAgent() {
  if (parts_->server) parts_->server->Shutdown(std::chrono::system_clock::now());
}

std::vector<v1::ReserveRequest> FakeAgent::reserved() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->reserved;
}

std::vector<std::string> FakeAgent::released() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->released;
}

MuteAgent::MuteAgent(const std::string& socket)
    : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.copy(address.sun_path, sizeof address.sun_path - 1);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener_.get(), 8) != 0) {
    std::abort();
  }
}

}  // namespace ullage::clients
