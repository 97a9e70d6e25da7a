// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/peer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "node-agent/host/temporary_tree.h"

namespace ullage::host {
namespace {

using ::testing::HasSubstr;

constexpr milliseconds kPatience{20000};  // only a broken machine takes as long

sockaddr_un Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

class PeerTest : public ::testing::Test {
 protected:
  PeerTest() {
    tree_.Write("sockets/.keep", "");
    auto folder = OpenDirectory(tree_.path("sockets"));
    EXPECT_TRUE(folder.ok());
    if (folder) folder_ = *std::move(folder);
  }
  Fd Bound(int type = SOCK_STREAM) const {
    Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const sockaddr_un address = Address(tree_.path("sockets/s"));
    EXPECT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  Fd Listening(int backlog = 8) const {
    Fd socket = Bound();
    EXPECT_EQ(listen(socket.get(), backlog), 0);
    return socket;
  }
  Fd Opened() const {
    auto socket = OpenSocketAt(folder_, "s");
    EXPECT_TRUE(socket.ok());
    return socket ? *std::move(socket) : Fd();
  }

  TemporaryTree tree_;
  Roots roots_;
  Fd folder_;
};

TEST_F(PeerTest, NamesTheListenerThoughItAcceptsNobody) {
  const Fd server = Listening();
  const auto peer = PeerOf(roots_, Opened(), kPatience);
  ASSERT_TRUE(peer.ok()) << peer.error().message();
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, geteuid());
}

TEST_F(PeerTest, NamesTheProcessThatListensNotTheOneThatHoldsIt) {
  const Fd server = Bound();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(listen(server.get(), 8));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  const auto peer = PeerOf(roots_, Opened(), kPatience);
  ASSERT_TRUE(peer.ok()) << peer.error().message();
  EXPECT_EQ(peer->pid, child) << "ended by now: a pid is only a number";
}

TEST_F(PeerTest, TheOpenedSocketIsTheOneAlsoWhenItsNameIsTaken) {
  const Fd server = Listening();
  const Fd opened = Opened();
  tree_.Remove("sockets/s");
  tree_.Write("sockets/s", "another");
  EXPECT_TRUE(PeerOf(roots_, opened, kPatience).ok());
}

TEST_F(PeerTest, RefusesWhatIsNoSocket) {
  tree_.Write("sockets/file", "");
  std::filesystem::create_directory(tree_.path("sockets/folder"));
  ASSERT_EQ(mkfifo(tree_.path("sockets/fifo").c_str(), 0600), 0);
  const Fd server = Listening();
  std::filesystem::create_symlink("s", tree_.path("sockets/link"));
  for (const char* name : {"file", "folder", "fifo", "link"}) {
    const auto socket = OpenSocketAt(folder_, name);
    ASSERT_FALSE(socket.ok()) << name;
    EXPECT_EQ(socket.error().code(), Code::kInvalid) << name;
  }
  EXPECT_EQ(OpenSocketAt(folder_, "none").error().code(), Code::kGone);
  EXPECT_EQ(PeerOf(roots_, folder_, kPatience).error().code(), Code::kInvalid);
}

TEST_F(PeerTest, SaysThatNobodyListens) {
  { const Fd server = Listening(); }
  const auto peer = PeerOf(roots_, Opened(), kPatience);
  ASSERT_FALSE(peer.ok());
  EXPECT_EQ(peer.error().code(), Code::kUnavailable) << peer.error().message();
}

TEST_F(PeerTest, RefusesADatagramSocket) {
  const Fd server = Bound(SOCK_DGRAM);
  const auto peer = PeerOf(roots_, Opened(), kPatience);
  ASSERT_FALSE(peer.ok());
  EXPECT_EQ(peer.error().code(), Code::kInvalid) << peer.error().message();
}

TEST_F(PeerTest, AFullQueueIsADeadline) {
  const Fd server = Listening(0);
  const sockaddr_un address = Address(tree_.path("sockets/s"));
  std::vector<Fd> clients;  // nobody accepts them, so the queue stays full
  for (bool room = true; room && clients.size() < 64;) {
    clients.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    room = connect(clients.back().get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof address) == 0;
  }
  ASSERT_LT(clients.size(), 64U);
  for (const milliseconds patience : {milliseconds(0), milliseconds(20)}) {
    const auto peer = PeerOf(roots_, Opened(), patience);
    ASSERT_FALSE(peer.ok());
    EXPECT_EQ(peer.error().code(), Code::kDeadline) << peer.error().message();
  }
}

// Runs as the first process of a pid namespace of its own, as in a pod without hostPID.
int AskFromInside(const Roots& roots, const Fd& socket) {
  const auto peer = PeerOf(roots, socket, kPatience);
  if (peer.ok()) return 1;
  const bool clear = peer.error().code() == Code::kDenied &&
                     peer.error().message().find("hostPID") != std::string::npos;
  return clear ? 0 : 2;
}

TEST_F(PeerTest, APodWithoutHostPidIsToldSo) {
  const Fd server = Listening();
  const Fd opened = Opened();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (unshare(CLONE_NEWPID) != 0) _exit(3);
    const pid_t first = fork();
    if (first == 0) _exit(AskFromInside(roots_, opened));
    int status = 0;
    if (first < 0 || waitpid(first, &status, 0) != first) _exit(4);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 5);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 3) GTEST_SKIP() << "may not make a pid namespace: run as root";
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: a pid came, 2: another error";
}

TEST_F(PeerTest, AnAddressThatDoesNotFitIsRefused) {
  const Fd server = Listening();
  Roots far = roots_;
  far.proc = "/" + std::string(200, 'x');
  const auto peer = PeerOf(far, Opened(), kPatience);
  ASSERT_FALSE(peer.ok());
  EXPECT_THAT(peer.error().message(), HasSubstr("too long"));
}

}  // namespace
}  // namespace ullage::host
