// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/kubevirt/hook_server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <mutex>

#include "kubevirt/hooks/info.grpc.pb.h"
#include "kubevirt/hooks/plugins/v1alpha1.grpc.pb.h"
#include "kubevirt/hooks/v1alpha1.grpc.pb.h"
#include "kubevirt/hooks/v1alpha2.grpc.pb.h"
#include "kubevirt/hooks/v1alpha3.grpc.pb.h"
#include "node-agent/api/target.h"
#include "node-agent/host/temporary_tree.h"
#include "node-agent/model/time.h"

namespace ullage::hooks {
namespace {

namespace kv = ::kubevirt::hooks;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr const char* kDomain = "<domain><devices><memballoon model='virtio'/></devices></domain>";
constexpr const char* kVmi =
    R"({"metadata": {"name": "vm2", "namespace": "default", "uid": "0beb9084"}})";

class HookServerTest : public testing::Test {
 protected:
  HookServerOptions Options() {
    HookServerOptions options;
    options.socket_dir = tree_.path();
    options.say = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      log_.push_back(line);
    };
    options.shut_down = [this] {
      const std::lock_guard lock(mutex_);
      ++shut_down_;
    };
    return options;
  }
  void Serve(const HookServerOptions& options) {
    auto started = HookServer::Start(options);
    ASSERT_TRUE(started.ok()) << started.error().message();
    server_ = *std::move(started);
  }
  // As virt-launcher does: plaintext, authority "localhost", a connection for each call.
  static std::shared_ptr<grpc::Channel> Dial(const std::string& path) {
    grpc::ChannelArguments arguments;
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(api::UnixTarget(path), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  template <typename Service, typename Params, typename Reply>
  Reply Define(const std::string& path, const std::string& xml, const std::string& vmi) {
    grpc::ClientContext context;
    Params params;
    params.set_domainxml(xml);
    params.set_vmi(vmi);
    Reply reply;
    const grpc::Status status =
        Service::NewStub(Dial(path))->OnDefineDomain(&context, params, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply;
  }
  template <typename Service, typename Params, typename Reply>
  void PassesCloudInitThrough() {
    grpc::ClientContext context;
    Params params;
    params.set_cloudinitnocloudsource("no\0cloud");
    params.set_vmi("not even JSON");
    params.set_cloudinitdata(std::string("\0\xff data", 7));
    Reply reply;
    ASSERT_TRUE(Service::NewStub(Dial(path_))->PreCloudInitIso(&context, params, &reply).ok());
    EXPECT_EQ(reply.cloudinitnocloudsource(), params.cloudinitnocloudsource());
    EXPECT_EQ(reply.cloudinitdata(), params.cloudinitdata());
  }
  std::string DefineV3(const std::string& path, const std::string& xml,
                       const std::string& vmi = kVmi) {
    return Define<kv::v1alpha3::Callbacks, kv::v1alpha3::OnDefineDomainParams,
                  kv::v1alpha3::OnDefineDomainResult>(path, xml, vmi)
        .domainxml();
  }
  std::vector<std::string> Log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  host::TemporaryTree tree_;
  const std::string path_ = tree_.path("ullage.sock");
  std::mutex mutex_;
  std::vector<std::string> log_;
  int shut_down_ = 0;
  std::unique_ptr<HookServer> server_;
};

TEST_F(HookServerTest, SaysWhatItIsAndWants) {
  Serve(Options());
  grpc::ClientContext context;
  kv::info::InfoResult info;
  ASSERT_TRUE(kv::info::Info::NewStub(Dial(path_))->Info(&context, {}, &info).ok());
  EXPECT_EQ(info.name(), "ullage-domain-hook");
  EXPECT_THAT(info.versions(), UnorderedElementsAre("v1alpha1", "v1alpha2", "v1alpha3"));
  std::vector<std::string> points;
  for (const auto& point : info.hookpoints()) points.push_back(point.name());
  EXPECT_THAT(points, UnorderedElementsAre("OnDefineDomain", "Shutdown"));
}

TEST_F(HookServerTest, RewritesInEveryVersion) {
  Serve(Options());
  const auto is_on = AllOf(HasSubstr("freePageReporting=\"on\""), HasSubstr("autodeflate=\"on\""));
  const auto one = Define<kv::v1alpha1::Callbacks, kv::v1alpha1::OnDefineDomainParams,
                          kv::v1alpha1::OnDefineDomainResult>(path_, kDomain, kVmi);
  EXPECT_THAT(one.domainxml(), is_on);
  const auto two = Define<kv::v1alpha2::Callbacks, kv::v1alpha2::OnDefineDomainParams,
                          kv::v1alpha2::OnDefineDomainResult>(path_, kDomain, kVmi);
  EXPECT_THAT(two.domainxml(), is_on);
  const std::string three = DefineV3(path_, kDomain);
  EXPECT_THAT(three, is_on);
  EXPECT_EQ(DefineV3(path_, three), three);
  EXPECT_THAT(Log(), ElementsAre("default/vm2: free page reporting and autodeflate switched on",
                                 "default/vm2: free page reporting and autodeflate switched on",
                                 "default/vm2: free page reporting and autodeflate switched on",
                                 "default/vm2: nothing to do"));
}

TEST_F(HookServerTest, HandsBackWhatMakesNoSenseAndSaysSo) {
  Serve(Options());
  const std::string large((2 << 20) + 7, 'x');
  EXPECT_EQ(DefineV3(path_, ""), "");
  EXPECT_EQ(DefineV3(path_, "garbage"), "garbage");
  EXPECT_EQ(DefineV3(path_, large), large);
  EXPECT_EQ(DefineV3(path_, kDomain, "garbage"), kDomain);
  EXPECT_EQ(DefineV3(path_, kDomain, large), kDomain);
  const std::vector<std::string> log = Log();
  EXPECT_EQ(log.size(), 5u);
  EXPECT_THAT(log, Contains(HasSubstr("default/vm2: handed back as it is: domain XML: longer")));
  EXPECT_THAT(log, Contains(HasSubstr("a domain was handed back as it is: VMI: ")));
}

TEST_F(HookServerTest, OverridesTheClusterOnlyIfTold) {
  const std::string off =
      "<domain><devices><memballoon model='virtio' freePageReporting='off'/></devices></domain>";
  HookServerOptions options = Options();
  Serve(options);
  EXPECT_THAT(DefineV3(path_, off), HasSubstr("freePageReporting=\"off\""));
  server_.reset();
  options.rewrite.override_off = true;
  Serve(options);
  EXPECT_THAT(DefineV3(path_, off), HasSubstr("freePageReporting=\"on\""));
}

TEST_F(HookServerTest, PassesCloudInitThrough) {
  Serve(Options());
  PassesCloudInitThrough<kv::v1alpha2::Callbacks, kv::v1alpha2::PreCloudInitIsoParams,
                         kv::v1alpha2::PreCloudInitIsoResult>();
  PassesCloudInitThrough<kv::v1alpha3::Callbacks, kv::v1alpha3::PreCloudInitIsoParams,
                         kv::v1alpha3::PreCloudInitIsoResult>();
}

TEST_F(HookServerTest, ShutdownIsAnsweredAndPassedOn) {
  Serve(Options());
  grpc::ClientContext context;
  kv::v1alpha3::ShutdownResult result;
  EXPECT_TRUE(kv::v1alpha3::Callbacks::NewStub(Dial(path_))->Shutdown(&context, {}, &result).ok());
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(shut_down_, 1);
}

TEST_F(HookServerTest, ServesThePluginsDomainHook) {
  HookServerOptions options = Options();
  options.socket_dir = "";
  options.plugin_socket = tree_.path("plugin.sock");
  Serve(options);
  EXPECT_THAT(server_->sockets(), ElementsAre(options.plugin_socket));
  const auto stub = kv::plugins::v1alpha1::DomainHookService::NewStub(Dial(options.plugin_socket));
  const auto mutate = [&](const std::string& type) {
    grpc::ClientContext context;
    kv::plugins::v1alpha1::MutateDomainRequest request;
    request.set_domain_type(type);
    request.set_domain(kDomain);
    request.set_vmi(kVmi);
    request.mutable_sidecar_context()->set_invocation_context("start");
    kv::plugins::v1alpha1::MutateDomainResponse response;
    const grpc::Status status = stub->MutateDomain(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.domain();
  };
  EXPECT_THAT(mutate("libvirt"), HasSubstr("freePageReporting=\"on\""));
  EXPECT_EQ(mutate("cloud-hyper\nvisor"), kDomain);
  EXPECT_THAT(Log(), Contains(HasSubstr("its type is 'cloud-hyper\\x0avisor', not libvirt")));
}

TEST_F(HookServerTest, BothSocketsMayBeInOneFolderAndAreRemoved) {
  HookServerOptions options = Options();
  options.plugin_socket = tree_.path("plugin.sock");
  Serve(options);
  EXPECT_THAT(server_->sockets(), ElementsAre(path_, options.plugin_socket));
  EXPECT_THAT(DefineV3(path_, kDomain), HasSubstr("autodeflate"));
  server_->Stop();
  server_->Stop();
  EXPECT_THAT(server_->sockets(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(tree_.path()));
}

// A launcher waits for as many sockets as its VM has hook sidecars.
TEST_F(HookServerTest, ASecondOneInThePodServesBesideTheFirst) {
  Serve(Options());
  const auto second = HookServer::Start(Options());
  ASSERT_TRUE(second.ok()) << second.error().message();
  const std::string beside = tree_.path("ullage-2.sock");
  EXPECT_THAT((*second)->sockets(), ElementsAre(beside));
  EXPECT_EQ(DefineV3(beside, DefineV3(path_, kDomain)), DefineV3(path_, kDomain));
}

TEST_F(HookServerTest, APluginsSocketIsNeverTakenOver) {
  HookServerOptions options = Options();
  options.socket_dir = "";
  options.plugin_socket = tree_.path("plugin.sock");
  Serve(options);
  const auto second = HookServer::Start(options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kExists);
  EXPECT_TRUE(std::filesystem::exists(options.plugin_socket));
}

TEST_F(HookServerTest, NeedsASocket) {
  HookServerOptions options = Options();
  options.socket_dir = "";
  EXPECT_EQ(HookServer::Start(options).error().code(), Code::kInvalid);
  options.socket_dir = tree_.path("absent");
  EXPECT_EQ(HookServer::Start(options).error().code(), Code::kGone);
}

}  // namespace
}  // namespace ullage::hooks
