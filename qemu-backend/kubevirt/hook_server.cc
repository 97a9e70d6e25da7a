// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/hook_server.h"

#include "kubevirt/hooks/info.grpc.pb.h"
#include "kubevirt/hooks/plugins/v1alpha1.grpc.pb.h"
#include "kubevirt/hooks/v1alpha1.grpc.pb.h"
#include "kubevirt/hooks/v1alpha2.grpc.pb.h"
#include "kubevirt/hooks/v1alpha3.grpc.pb.h"
#include "node-agent/api/listen.h"
#include "node-agent/host/text.h"
#include "node-agent/model/time.h"

namespace ullage::hooks {
namespace {

namespace kv = ::kubevirt::hooks;

// A domain and a VMI are at most some MiB; so is a cloud-init disk's content, which is only asked
// for by mistake. What does not fit would make a start fail, so there is room to spare.
constexpr int kMaxMessageBytes = 16 << 20;
constexpr int kMaxThreads = 8;
constexpr seconds kPatience{2};

// Answers for every version. Called from gRPC's threads.
class Hook {
 public:
  explicit Hook(const HookServerOptions& options) : options_(options) {}

  std::string Define(const std::string& xml, const std::string& vmi) const {
    Rewritten answer = Answer(xml, vmi, options_.rewrite);
    options_.say(answer.why);
    return std::move(answer.xml);
  }
  void PassCloudInit() const { options_.say("a cloud-init disk was passed through unread"); }
  void ShutDown() const {
    options_.say("the launcher said Shutdown");
    options_.shut_down();
  }
  void Say(const std::string& line) const { options_.say(line); }

 private:
  const HookServerOptions options_;
};

// PreCloudInitIso is served and not asked for: a disk that need not pass through here should not.
class InfoService final : public kv::info::Info::Service {
  grpc::Status Info(grpc::ServerContext*, const kv::info::InfoParams*,
                    kv::info::InfoResult* result) override {
    result->set_name("ullage-domain-hook");
    for (const char* version : {"v1alpha1", "v1alpha2", "v1alpha3"}) {
      result->add_versions(version);
    }
    for (const char* point : {"OnDefineDomain", "Shutdown"}) {
      result->add_hookpoints()->set_name(point);
    }
    return grpc::Status::OK;
  }
};

template <typename Base, typename Params, typename Reply>
class WithDefine : public Base {
 public:
  explicit WithDefine(const Hook& hook) : hook_(hook) {}
  grpc::Status OnDefineDomain(grpc::ServerContext*, const Params* params, Reply* result) override {
    result->set_domainxml(hook_.Define(params->domainxml(), params->vmi()));
    return grpc::Status::OK;
  }

 protected:
  const Hook& hook_;
};

template <typename Base, typename Params, typename Reply>
class WithCloudInit : public Base {
 public:
  using Base::Base;
  grpc::Status PreCloudInitIso(grpc::ServerContext*, const Params* params, Reply* result) override {
    result->set_cloudinitnocloudsource(params->cloudinitnocloudsource());
    result->set_cloudinitdata(params->cloudinitdata());
    this->hook_.PassCloudInit();
    return grpc::Status::OK;
  }
};

using V1 = WithDefine<kv::v1alpha1::Callbacks::Service, kv::v1alpha1::OnDefineDomainParams,
                      kv::v1alpha1::OnDefineDomainResult>;
using V2 =
    WithCloudInit<WithDefine<kv::v1alpha2::Callbacks::Service, kv::v1alpha2::OnDefineDomainParams,
                             kv::v1alpha2::OnDefineDomainResult>,
                  kv::v1alpha2::PreCloudInitIsoParams, kv::v1alpha2::PreCloudInitIsoResult>;
using V3Base =
    WithCloudInit<WithDefine<kv::v1alpha3::Callbacks::Service, kv::v1alpha3::OnDefineDomainParams,
                             kv::v1alpha3::OnDefineDomainResult>,
                  kv::v1alpha3::PreCloudInitIsoParams, kv::v1alpha3::PreCloudInitIsoResult>;

class V3 final : public V3Base {
 public:
  using V3Base::V3Base;
  grpc::Status Shutdown(grpc::ServerContext*, const kv::v1alpha3::ShutdownParams*,
                        kv::v1alpha3::ShutdownResult*) override {
    hook_.ShutDown();
    return grpc::Status::OK;
  }
};

class Plugin final : public kv::plugins::v1alpha1::DomainHookService::Service {
 public:
  explicit Plugin(const Hook& hook) : hook_(hook) {}
  grpc::Status MutateDomain(grpc::ServerContext*,
                            const kv::plugins::v1alpha1::MutateDomainRequest* request,
                            kv::plugins::v1alpha1::MutateDomainResponse* response) override {
    if (request->domain_type() == "libvirt") {
      response->set_domain(hook_.Define(request->domain(), request->vmi()));
      return grpc::Status::OK;
    }
    hook_.Say("a domain was handed back as it is: its type is '" +
              host::Printable(request->domain_type(), 64) + "', not libvirt");
    response->set_domain(request->domain());
    return grpc::Status::OK;
  }

 private:
  const Hook& hook_;
};

}  // namespace

// One socket and what is served on it.
class HookServer::Endpoint {
 public:
  explicit Endpoint(const HookServerOptions& options)
      : hook_(options), v1_(hook_), v2_(hook_), v3_(hook_), plugin_(hook_) {}
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;
  ~Endpoint() { Stop(); }

  bool Listen(const std::string& path, bool plugin) {
    grpc::ResourceQuota quota("ullage-hook");
    quota.SetMaxThreads(kMaxThreads);
    grpc::ServerBuilder builder;
    builder.SetMaxSendMessageSize(kMaxMessageBytes);
    if (plugin) {
      builder.RegisterService(&plugin_);
    } else {
      builder.RegisterService(&info_);
      builder.RegisterService(&v1_);
      builder.RegisterService(&v2_);
      builder.RegisterService(&v3_);
    }
    server_ = api::ListenOn(builder, quota, path, kMaxMessageBytes);
    return server_ != nullptr;
  }

  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + kPatience);
    server_->Wait();
    server_.reset();
  }

 private:
  const Hook hook_;
  InfoService info_;
  V1 v1_;
  V2 v2_;
  V3 v3_;
  Plugin plugin_;
  std::unique_ptr<grpc::Server> server_;
};

HookServer::HookServer() = default;

HookServer::~HookServer() { Stop(); }

Status HookServer::Listen(const Result<SocketTurn>& turn, const HookServerOptions& options,
                          bool plugin) {
  if (!turn) return turn.error();
  auto endpoint = std::make_unique<Endpoint>(options);
  if (!endpoint->Listen(turn->path, plugin)) {
    return Error(Code::kInternal, "gRPC cannot listen on " + host::Printable(turn->path));
  }
  endpoints_.push_back(std::move(endpoint));
  sockets_.push_back(turn->path);
  return Ok();
}

Result<std::unique_ptr<HookServer>> HookServer::Start(const HookServerOptions& options) {
  if (options.socket_dir.empty() && options.plugin_socket.empty()) {
    return Error(Code::kInvalid, "no socket to listen on");
  }
  std::unique_ptr<HookServer> server(new HookServer);
  if (!options.socket_dir.empty()) {
    const Status listens = server->Listen(TakeTurnIn(options.socket_dir), options, false);
    if (!listens) return listens.error();
  }
  if (!options.plugin_socket.empty()) {
    const Status listens = server->Listen(TakeTurn(options.plugin_socket), options, true);
    if (!listens) return listens.error();
  }
  return server;
}

void HookServer::Stop() {
  endpoints_.clear();
  sockets_.clear();
}

}  // namespace ullage::hooks
