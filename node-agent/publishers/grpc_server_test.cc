// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "node-agent/api/target.h"
#include "node-agent/host/temporary_tree.h"
#include "node-agent/publishers/node_agent_service.h"
#include "node-agent/publishers/recorder.h"
#include "node-agent/publishers/report_fixture.h"
#include "ullage/v1/node_agent.grpc.pb.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;

class FakeGate : public AdmissionGate {
 public:
  Verdict Reserve(const VmSpec& vm, bool already_running) override {
    last = vm;
    return {already_running || vm.vcpus == 1, "because", Bytes(3), Bytes(2), Bytes(1)};
  }
  bool Release(const VmId& vm) override { return vm == last.id; }
  VmSpec last;
};

// A folder whose name a URI cannot hold as it is.
class GrpcServerTest : public testing::Test {
 protected:
  void Serve(int max_watchers = 16, AdmissionGate* gate = nullptr,
             const Recorder* recorder = nullptr) {
    auto started =
        GrpcServer::Start({path_, max_watchers, milliseconds(500), recorder}, bulletin_, gate);
    ASSERT_TRUE(started.ok()) << started.error().message();
    server_ = *std::move(started);
    stub_ = v1::NodeAgent::NewStub(
        grpc::CreateChannel(api::UnixTarget(path_), grpc::InsecureChannelCredentials()));
  }
  grpc::Status Snapshot(v1::Snapshot& out) {
    grpc::ClientContext context;
    return stub_->GetSnapshot(&context, {}, &out);
  }

  host::TemporaryTree tree_;
  const std::string path_ = tree_.path("a b%20/ü/agent.sock");
  Bulletin bulletin_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::NodeAgent::Stub> stub_;
};

TEST_F(GrpcServerTest, ServesTheLatestSnapshotOnASocketOfOurUserOnly) {
  Serve();
  struct stat found {};
  ASSERT_EQ(lstat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  v1::Snapshot snapshot;
  EXPECT_EQ(Snapshot(snapshot).error_code(), grpc::StatusCode::UNAVAILABLE);
  bulletin_.Post(Shared(SampleReport(4)));
  EXPECT_TRUE(Snapshot(snapshot).ok());
  EXPECT_EQ(snapshot.tick(), 4u);
  server_->Stop();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(GrpcServerTest, ASecondServerIsRefusedAndTheFirstServesOn) {
  Serve();
  bulletin_.Post(Shared(SampleReport()));
  const auto second = GrpcServer::Start({path_}, bulletin_, nullptr);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message(), HasSubstr("another agent answers on"));
  v1::Snapshot snapshot;
  EXPECT_TRUE(Snapshot(snapshot).ok());
}

TEST_F(GrpcServerTest, ThePastIsAskedForWhereItIsWrittenDown) {
  Serve();
  bulletin_.Post(Shared(SampleReport()));
  v1::ExplainRequest request;
  request.set_vm("web-1");
  request.set_at_unix_ms(1700000001000);
  v1::Explanation explanation;
  const auto ask = [&] {
    grpc::ClientContext context;
    return stub_->Explain(&context, request, &explanation).error_code();
  };
  EXPECT_EQ(ask(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::History history;
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub_->GetHistory(&context, {}, &history).error_code(),
              grpc::StatusCode::FAILED_PRECONDITION);
  }
  server_->Stop();
  const Recorder recorder({.state_dir = tree_.path()}, bulletin_);
  Serve(16, nullptr, &recorder);
  for (int i = 0; i < 6000 && recorder.Counts().records == 0; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(ask(), grpc::StatusCode::OK);
  EXPECT_EQ(explanation.vm().name(), "web-1");
  request.set_at_unix_ms(1);
  EXPECT_EQ(ask(), grpc::StatusCode::NOT_FOUND);
  request.set_at_unix_ms(-1);
  EXPECT_EQ(ask(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  EXPECT_TRUE(stub_->GetHistory(&context, {}, &history).ok());
  EXPECT_EQ(history.horizon_seconds(), 600u);
  server_->Stop();  // before the recorder
}

TEST_F(GrpcServerTest, WatchDeliversNewTicksAndEndsAtShutdown) {
  Serve();
  bulletin_.Post(Shared(SampleReport(1)));
  grpc::ClientContext context;
  const auto stream = stub_->WatchSnapshots(&context, {});
  v1::Snapshot snapshot;
  ASSERT_TRUE(stream->Read(&snapshot));
  EXPECT_EQ(snapshot.tick(), 1u);
  bulletin_.Post(Shared(SampleReport(2)));
  ASSERT_TRUE(stream->Read(&snapshot));
  EXPECT_EQ(snapshot.tick(), 2u);
  std::thread stopper([&] { server_->Stop(); });
  EXPECT_FALSE(stream->Read(&snapshot));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  stopper.join();
}

TEST_F(GrpcServerTest, WatchersAreCounted) {
  Serve(2);
  bulletin_.Post(Shared(SampleReport(1)));
  v1::Snapshot snapshot;
  grpc::ClientContext first, second, third;
  const auto one = stub_->WatchSnapshots(&first, {});
  const auto two = stub_->WatchSnapshots(&second, {});
  ASSERT_TRUE(one->Read(&snapshot) && two->Read(&snapshot));
  const auto three = stub_->WatchSnapshots(&third, {});
  EXPECT_FALSE(three->Read(&snapshot));
  EXPECT_EQ(three->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Snapshot(snapshot).ok());  // other calls still pass
  first.TryCancel();
  second.TryCancel();
}

TEST_F(GrpcServerTest, AdmissionReachesTheGateAndBadRequestsDoNot) {
  FakeGate gate;
  Serve(16, &gate);
  v1::ReserveRequest request;
  v1::ReserveResponse response;
  request.set_uuid("nonsense");
  grpc::ClientContext bad;
  const grpc::Status refused = stub_->Reserve(&bad, request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("uuid 'nonsense'"));
  EXPECT_TRUE(gate.last.name.empty());

  request.set_uuid("6f9b1c1e-0d3c-4d57-9d0c-0123456789ab");
  request.set_name("\xff");
  request.set_guest_memory(1 << 30);
  request.set_vcpus(1);
  grpc::ClientContext good;
  ASSERT_TRUE(stub_->Reserve(&good, request, &response).ok());
  EXPECT_TRUE(response.admitted());
  EXPECT_EQ(response.promised(), 3u);
  EXPECT_EQ(gate.last.name, "\\xff");

  v1::ReleaseRequest release;
  v1::ReleaseResponse released;
  release.set_uuid("6F9B1C1E-0D3C-4D57-9D0C-0123456789AB");
  grpc::ClientContext end;
  ASSERT_TRUE(stub_->Release(&end, release, &released).ok());
  EXPECT_TRUE(released.known());
}

// The service as it is when a call got its thread only after its caller had gone.
class LateService : public v1::NodeAgent::Service {
 public:
  explicit LateService(NodeAgentService& service) : service_(service) {}
  grpc::Status Reserve(grpc::ServerContext* context, const v1::ReserveRequest* request,
                       v1::ReserveResponse* response) override {
    while (!context->IsCancelled()) std::this_thread::sleep_for(milliseconds(5));
    const grpc::Status status = service_.Reserve(context, request, response);
    answered = status.error_code();
    return status;
  }
  std::atomic<grpc::StatusCode> answered = grpc::StatusCode::OK;

 private:
  NodeAgentService& service_;
};

TEST_F(GrpcServerTest, NothingIsReservedForACallerThatHasGone) {
  FakeGate gate;
  NodeAgentService service(bulletin_, &gate, nullptr, 1);
  LateService late(service);
  const std::string path = tree_.path("late.sock");
  grpc::ServerBuilder builder;
  builder.AddListeningPort(api::UnixTarget(path), grpc::InsecureServerCredentials());
  builder.RegisterService(&late);
  const auto server = builder.BuildAndStart();
  const auto stub = v1::NodeAgent::NewStub(
      grpc::CreateChannel(api::UnixTarget(path), grpc::InsecureChannelCredentials()));
  v1::ReserveRequest request;
  v1::ReserveResponse response;
  request.set_uuid("6f9b1c1e-0d3c-4d57-9d0c-0123456789ab");
  request.set_name("web");
  request.set_guest_memory(1 << 30);
  request.set_vcpus(1);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(200));
  EXPECT_EQ(stub->Reserve(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  server->Shutdown();  // waits for the call
  EXPECT_EQ(late.answered, grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(gate.last.name.empty());
}

// One message each way by bytes: Debian ships no stubs of gRPC's standard services.
std::string Exchange(const std::string& path, const char* method, const std::string& bytes) {
  grpc::GenericStub stub(
      grpc::CreateChannel(api::UnixTarget(path), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + seconds(10));
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(&tag);
  queue.Next(&tag, &ok);
  const grpc::Slice slice(bytes);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), {}, &tag);
  queue.Next(&tag, &ok);
  grpc::ByteBuffer answer;
  call->Read(&answer, &tag);
  queue.Next(&tag, &ok);
  grpc::Status status;
  call->Finish(&status, &tag);
  queue.Next(&tag, &ok);
  grpc::Slice flat;
  if (!answer.Valid() || !answer.DumpToSingleSlice(&flat).ok()) return status.error_message();
  return {reinterpret_cast<const char*>(flat.begin()), flat.size()};
}

TEST_F(GrpcServerTest, SpeaksHealthAndReflection) {
  Serve();
  const std::string serving = "\x08\x01";          // HealthCheckResponse{status: SERVING}
  const std::string list_services("\x3a\x00", 2);  // ServerReflectionRequest{list_services: ""}
  EXPECT_EQ(Exchange(path_, "/grpc.health.v1.Health/Check", ""), serving);
  EXPECT_THAT(Exchange(path_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                       list_services),
              HasSubstr("ullage.v1.NodeAgent"));
}

TEST_F(GrpcServerTest, WithoutAGateNothingIsAdmitted) {
  Serve();
  v1::ReleaseResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Release(&context, {}, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(GrpcServerTest, ExplainTellsNotFoundFromABadQuestion) {
  Serve();
  bulletin_.Post(Shared(SampleReport()));
  const auto ask = [&](const std::string& vm, v1::Explanation& out) {
    grpc::ClientContext context;
    v1::ExplainRequest request;
    request.set_vm(vm);
    return stub_->Explain(&context, request, &out).error_code();
  };
  v1::Explanation explanation;
  EXPECT_EQ(ask("", explanation), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ask("nobody", explanation), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ask("web-1", explanation), grpc::StatusCode::OK);
  EXPECT_GT(explanation.lines_size(), 4);
}

}  // namespace
}  // namespace ullage::publishers
