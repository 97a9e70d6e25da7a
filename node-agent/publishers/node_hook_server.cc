// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_hook_server.h"

#include <mutex>

#include "kubevirt/hooks/plugins/v1alpha1.grpc.pb.h"
#include "node-agent/api/listen.h"
#include "node-agent/api/vmi.h"
#include "node-agent/host/text.h"
#include "node-agent/publishers/socket_claim.h"

namespace ullage::publishers {
namespace {

namespace kv = ::kubevirt::hooks::plugins::v1alpha1;

// A VMI of the largest size that etcd takes, and what is around it.
constexpr int kMaxRequestBytes = 4 << 20;
constexpr int kMaxThreads = 32;
constexpr std::size_t kShown = 64;  // of a bad value, in a message

}  // namespace

class NodeHookServer::Service final : public kv::NodeHookService::Service {
 public:
  Service(NodeHookListener& listener, std::function<void(const std::string&)> say)
      : listener_(listener), say_(std::move(say)) {}

  grpc::Status ExecuteNodeHook(grpc::ServerContext*, const kv::ExecuteNodeHookRequest* request,
                               kv::ExecuteNodeHookResponse*) override {
    const auto point = ToNodeHookPoint(request->hookpoint());
    if (!point) {
      Count(&NodeHookCounts::unknown_points, "a node hook that is not known was called: '" +
                                                 host::Printable(request->hookpoint(), kShown) +
                                                 "'");
      return grpc::Status::OK;
    }
    const auto vmi = api::ParseVmi(request->vmi());
    if (!vmi) {
      Count(&NodeHookCounts::unreadable_vmis,
            std::string(Name(*point)) + " came with no VMI: " + vmi.error().message());
      return grpc::Status::OK;
    }
    {
      const std::lock_guard lock(mutex_);
      ++counts_.calls[static_cast<std::size_t>(*point)];
    }
    const auto& metadata = vmi->metadata();
    listener_.OnNodeHook({*point, metadata.space(), metadata.name(), metadata.uid()});
    return grpc::Status::OK;
  }

  NodeHookCounts Counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  void Count(std::uint64_t NodeHookCounts::*counter, const std::string& why) {
    {
      const std::lock_guard lock(mutex_);
      ++(counts_.*counter);
    }
    if (say_) say_(why);
  }

  NodeHookListener& listener_;
  const std::function<void(const std::string&)> say_;
  mutable std::mutex mutex_;
  NodeHookCounts counts_;
};

struct NodeHookServer::Parts {
  Parts(SocketClaim taken, const NodeHookServerOptions& options, NodeHookListener& listener)
      : claim(std::move(taken)), service(listener, options.say), patience(options.stop_patience) {}

  SocketClaim claim;
  Service service;
  milliseconds patience;
  std::unique_ptr<grpc::Server> server;
};

NodeHookServer::NodeHookServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

NodeHookServer::~NodeHookServer() { Stop(); }

Result<std::unique_ptr<NodeHookServer>> NodeHookServer::Start(const NodeHookServerOptions& options,
                                                              NodeHookListener& listener) {
  Result<SocketClaim> claim = SocketClaim::Take(options.socket);
  if (!claim) return claim.error();
  auto parts = std::make_unique<Parts>(*std::move(claim), options, listener);
  grpc::ResourceQuota quota("ullage-node-hook");
  quota.SetMaxThreads(kMaxThreads);
  grpc::ServerBuilder builder;
  builder.RegisterService(&parts->service);
  parts->server = api::ListenOn(builder, quota, parts->claim.staging_path(), kMaxRequestBytes);
  if (!parts->server) {
    return Error(Code::kInternal, "gRPC cannot listen on " + options.socket);
  }
  const Status published = parts->claim.Publish();
  if (!published) return published.error();
  return std::unique_ptr<NodeHookServer>(new NodeHookServer(std::move(parts)));
}

NodeHookCounts NodeHookServer::Counts() const {
  return parts_ ? parts_->service.Counts() : NodeHookCounts{};
}

void NodeHookServer::Stop() {
  if (!parts_) return;
  parts_->server->Shutdown(std::chrono::system_clock::now() + parts_->patience);
  parts_->server->Wait();
  parts_.reset();
}

}  // namespace ullage::publishers
