// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_hook_server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <mutex>
#include <thread>
#include <vector>

#include "kubevirt/hooks/plugins/v1alpha1.grpc.pb.h"
#include "node-agent/api/target.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::publishers {
namespace {

namespace kv = ::kubevirt::hooks::plugins::v1alpha1;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kVmi =
    R"({"kind": "VirtualMachineInstance", "metadata": {"name": "vm2", "namespace": "default", )"
    R"("uid": "0beb9084-c093-4922-bb85-4b4c4a2cab40"}, "status": {"phase": "Running"}})";

class Recorder : public NodeHookListener {
 public:
  void OnNodeHook(const NodeHookCall& call) override {
    const std::lock_guard lock(mutex_);
    calls_.push_back(call);
  }
  void Say(const std::string& line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
  }
  std::vector<NodeHookCall> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  std::vector<std::string> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<NodeHookCall> calls_;
  std::vector<std::string> lines_;
};

class NodeHookServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = NodeHookServer::Start(Options(), heard_);
    ASSERT_TRUE(started.ok()) << started.error().message();
    server_ = *std::move(started);
  }
  NodeHookServerOptions Options() {
    return {.socket = path_, .say = [this](const std::string& line) { heard_.Say(line); }};
  }
  grpc::Status Call(const std::string& point, const std::string& vmi = kVmi) {
    grpc::ChannelArguments arguments;
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = kv::NodeHookService::NewStub(grpc::CreateCustomChannel(
        api::UnixTarget(path_), grpc::InsecureChannelCredentials(), arguments));
    grpc::ClientContext context;
    kv::ExecuteNodeHookRequest request;
    request.set_hookpoint(point);
    request.set_vmi(vmi);
    request.mutable_node_context()->set_node_name("real1");
    kv::ExecuteNodeHookResponse response;
    return stub->ExecuteNodeHook(&context, request, &response);
  }

  host::TemporaryTree tree_;
  const std::string path_ = tree_.path("plugins/ullage.sock");
  Recorder heard_;
  std::unique_ptr<NodeHookServer> server_;
};

TEST_F(NodeHookServerTest, TellsTheListenerOfEachPoint) {
  for (const NodeHookPoint point : kNodeHookPoints) {
    EXPECT_TRUE(Call(std::string(Name(point))).ok());
  }
  const auto calls = heard_.calls();
  ASSERT_EQ(calls.size(), kNodeHookPoints.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i].point, kNodeHookPoints[i]);
    EXPECT_EQ(calls[i].vmi_namespace, "default");
    EXPECT_EQ(calls[i].vmi_name, "vm2");
    EXPECT_EQ(calls[i].vmi_uid, "0beb9084-c093-4922-bb85-4b4c4a2cab40");
  }
  EXPECT_THAT(server_->Counts().calls, Each(1u));
  EXPECT_EQ(server_->Counts().unknown_points, 0u);
  EXPECT_THAT(heard_.lines(), IsEmpty());
}

TEST_F(NodeHookServerTest, ARepeatedCallIsPassedOn) {
  EXPECT_TRUE(Call("PostVMStart").ok());
  EXPECT_TRUE(Call("PostVMStart").ok());
  EXPECT_THAT(heard_.calls(), SizeIs(2));
}

TEST_F(NodeHookServerTest, UnknownPointsAreAcceptedAndCounted) {
  for (const char* point : {"", "PreVMNap", "prevmstart", "Pre\x1bVMStart"}) {
    EXPECT_TRUE(Call(point).ok()) << point;
  }
  EXPECT_THAT(heard_.calls(), IsEmpty());
  EXPECT_EQ(server_->Counts().unknown_points, 4u);
  ASSERT_THAT(heard_.lines(), SizeIs(4));
  EXPECT_THAT(heard_.lines()[1], HasSubstr("'PreVMNap'"));
  EXPECT_THAT(heard_.lines()[3], HasSubstr("'Pre\\x1bVMStart'"));
}

TEST_F(NodeHookServerTest, AVmiThatMakesNoSenseStopsNobody) {
  for (const std::string& vmi :
       {std::string(), std::string("garbage"), std::string("{}"), std::string("\xff\x00", 2),
        std::string(R"({"metadata": {"name": "../x", "namespace": "a", "uid": "b"}})"),
        std::string(3 << 20, '[')}) {
    EXPECT_TRUE(Call("PreVMStart", vmi).ok());
  }
  EXPECT_THAT(heard_.calls(), IsEmpty());
  EXPECT_EQ(server_->Counts().unreadable_vmis, 6u);
  EXPECT_THAT(heard_.lines(), Each(HasSubstr("PreVMStart came with no VMI: VMI: ")));
  EXPECT_TRUE(Call("PreVMStart").ok());
  EXPECT_THAT(heard_.calls(), SizeIs(1));
}

TEST_F(NodeHookServerTest, TakesCallsAtTheSameTime) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([this] {
      for (int j = 0; j < 5; ++j) EXPECT_TRUE(Call("PreVMStop").ok());
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(heard_.calls(), SizeIs(20));
}

TEST_F(NodeHookServerTest, ItsSocketIsOursAloneAndGoesWithIt) {
  struct stat found {};
  ASSERT_EQ(lstat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  const auto second = NodeHookServer::Start(Options(), heard_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kExists);
  EXPECT_TRUE(Call("PostVMStop").ok());
  server_->Stop();
  server_->Stop();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(Call("PostVMStop").ok());
}

}  // namespace
}  // namespace ullage::publishers
