// SPDX-License-Identifier: Apache-2.0
// The program as a launcher's pod runs it: its sockets, its log, its ends.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "kubevirt/hooks/v1alpha3.grpc.pb.h"
#include "node-agent/api/target.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::hooks {
namespace {

namespace kv = ::kubevirt::hooks;
using testing::HasSubstr;

class DomainHookProgram : public testing::Test {
 protected:
  ~DomainHookProgram() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  void Start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), ULLAGE_DOMAIN_HOOK);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string log = tree_.path("log");
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  // Its exit status, or -1 when a signal ended it.
  int Ended() {
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_) return -2;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string Log() {
    std::ifstream in(tree_.path("log"));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::unique_ptr<kv::v1alpha3::Callbacks::Stub> Dial() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    return kv::v1alpha3::Callbacks::NewStub(grpc::CreateCustomChannel(
        api::UnixTarget(path_), grpc::InsecureChannelCredentials(), arguments));
  }
  // Waits for the program as long as it takes, and asks it.
  std::string Define(const std::string& xml) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(40));
    kv::v1alpha3::OnDefineDomainParams params;
    params.set_domainxml(xml);
    params.set_vmi(R"({"metadata": {"name": "vm2", "namespace": "default", "uid": "0beb9084"}})");
    kv::v1alpha3::OnDefineDomainResult result;
    const grpc::Status status = Dial()->OnDefineDomain(&context, params, &result);
    EXPECT_TRUE(status.ok()) << status.error_message() << '\n' << Log();
    return result.domainxml();
  }

  host::TemporaryTree tree_;
  const std::string folder_ = tree_.path("hooks");
  const std::string path_ = tree_.path("hooks/ullage.sock");
  pid_t pid_ = -1;

  void SetUp() override { std::filesystem::create_directories(folder_); }
};

constexpr const char* kDomain = "<domain><devices><memballoon model='virtio'/></devices></domain>";

TEST_F(DomainHookProgram, EndsOnSigtermAndLeavesNothing) {
  Start({"--socket-dir", folder_});
  EXPECT_THAT(Define(kDomain), HasSubstr("freePageReporting=\"on\""));
  kill(pid_, SIGTERM);
  EXPECT_EQ(Ended(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_THAT(Log(), HasSubstr("ullage-domain-hook: listening on " + path_ + "\n"));
  EXPECT_THAT(Log(), HasSubstr("ullage-domain-hook: default/vm2: free page reporting and "
                               "autodeflate switched on\n"));
}

TEST_F(DomainHookProgram, ShutdownIsAnsweredAndEndsIt) {
  Start({"--socket-dir", folder_});
  EXPECT_EQ(Define("garbage"), "garbage");
  grpc::ClientContext context;
  kv::v1alpha3::ShutdownResult result;
  const grpc::Status status = Dial()->Shutdown(&context, {}, &result);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Ended(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_THAT(Log(), HasSubstr("the launcher said Shutdown"));
}

TEST_F(DomainHookProgram, AKilledOnesSocketIsTakenAgain) {
  Start({"--socket-dir", folder_});
  Define(kDomain);
  kill(pid_, SIGKILL);
  EXPECT_EQ(Ended(), -1);
  ASSERT_TRUE(std::filesystem::exists(path_));
  Start({"--socket-dir", folder_, "--override-off"});
  EXPECT_THAT(Define("<domain><devices><memballoon model='virtio' freePageReporting='off'/>"
                     "</devices></domain>"),
              HasSubstr("freePageReporting=\"on\""));
  kill(pid_, SIGINT);
  EXPECT_EQ(Ended(), 0);
}

TEST_F(DomainHookProgram, SaysWhatIsWrong) {
  Start({"--nonsense"});
  EXPECT_EQ(Ended(), 2);
  Start({"--socket-dir", tree_.path("absent")});
  EXPECT_EQ(Ended(), 1);
  EXPECT_THAT(Log(), HasSubstr("ullage-domain-hook: the folder of the socket: "));
  Start({"--version"});
  EXPECT_EQ(Ended(), 0);
  EXPECT_THAT(Log(), HasSubstr("ullage-domain-hook " ULLAGE_VERSION "\n"));
}

}  // namespace
}  // namespace ullage::hooks
