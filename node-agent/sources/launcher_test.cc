// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/launcher.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr milliseconds kPatience{20000};  // only a broken machine takes as long
constexpr int kMonitor = 100;
constexpr int kQemu = 200;
const std::string kUid = "460c5c93-8784-4c49-862e-0612f852352e";
const std::string kOther = "11111111-2222-4333-8444-555555555555";
const std::string kContainer(64, 'b');

std::string CgroupOf(const std::string& uid) {
  return "/kubepods/burstable/pod" + uid + "/" + kContainer;
}
std::string Command(const std::string& domain) {
  using namespace std::string_literals;
  return "/usr/bin/qemu-system-x86_64\0-name\0guest="s + domain + ",debug-threads=on\0-S\0"s;
}

// A socket at `name` in the folder, bound by way of its fd: a kubelet's paths are too long for an
// address.
host::Fd Bind(const std::string& folder, const std::string& name) {
  const auto opened = host::OpenDirectory(folder);
  EXPECT_TRUE(opened.ok());
  host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (host::PathOf(host::Roots(), *opened) + "/" + name)
      .copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << name;
  return socket;
}

// A kubelet's folder with the launcher's socket, on which this test listens: it is virt-launcher.
class LauncherFixture : public ::testing::Test {
 protected:
  LauncherFixture() {
    std::filesystem::create_directories(Sockets());
    std::filesystem::create_directory(tree_.path("proc"));
    // The kernel's own way to an open file is wanted, all else of /proc is ours.
    std::filesystem::create_symlink(host::Roots().proc + "/self", tree_.path("proc/self"));
    server_ = Bind(Sockets(), "launcher-sock");
    EXPECT_EQ(listen(server_.get(), 8), 0);
    Process(getpid(), kMonitor);
    Process(kMonitor, 1);
    Qemu(kQemu, kMonitor, "default_vm2");
    Members(CgroupOf(kUid), {getpid(), kMonitor, kQemu});
  }
  std::string Sockets() const {
    return tree_.path("kubelet/pods/" + kUid + "/volumes/kubernetes.io~empty-dir/sockets");
  }
  void Cgroup(int pid, const std::string& text) const {
    tree_.Write("proc/" + std::to_string(pid) + "/cgroup", text);
  }
  void Process(int pid, int parent, const std::string& start = "500") const {
    tree_.Write("proc/" + std::to_string(pid) + "/stat",
                std::to_string(pid) + " (x) S " + std::to_string(parent) +
                    " 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " + start + " 5 6\n");
    Cgroup(pid, "0::" + CgroupOf(kUid) + "\n");
  }
  void Program(int pid, const std::string& path) const {
    const std::string link = "proc/" + std::to_string(pid) + "/exe";
    tree_.Remove(link);
    std::filesystem::create_symlink(path, tree_.path(link));
  }
  void Qemu(int pid, int parent, const std::string& domain) const {
    Process(pid, parent, "777");
    Program(pid, "/usr/bin/qemu-system-x86_64");
    tree_.Write("proc/" + std::to_string(pid) + "/cmdline", Command(domain));
  }
  void Members(const std::string& cgroup, const std::vector<int>& pids,
               const std::string& below = "cgroup") const {
    std::string text;
    for (const int pid : pids) text += std::to_string(pid) + "\n";
    tree_.Write(below + cgroup + "/cgroup.procs", text);
    tree_.Write(below + cgroup + "/memory.current", "4096\n");
  }
  Result<Launcher> Find() const {
    return FindLauncher(roots_, tree_.path("kubelet"), {kUid, "default", "vm2"}, kPatience);
  }
  Error Refusal() const {
    auto launcher = Find();
    EXPECT_FALSE(launcher.ok());
    return launcher ? Error(Code::kInternal, "found one") : launcher.error();
  }

  host::TemporaryTree tree_;
  host::Roots roots_{tree_.path("proc"), tree_.path("cgroup")};
  host::Fd server_;
};

using LauncherTest = LauncherFixture;

TEST_F(LauncherTest, TiesThePodToItsQemu) {
  const auto launcher = Find();
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->pid, getpid());
  EXPECT_EQ(launcher->uid, geteuid());
  EXPECT_EQ(launcher->qemu.pid(), kQemu);
  EXPECT_EQ(launcher->qemu.start(), 777U);
  EXPECT_EQ(launcher->memory_cgroup, tree_.path("cgroup" + CgroupOf(kUid)));
}

TEST_F(LauncherTest, TiesItOnV1AndBySystemd) {
  std::string uid = kUid;
  for (char& c : uid) c = c == '-' ? '_' : c;
  const std::string cgroup = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" +
                             uid + ".slice/cri-containerd-" + kContainer + ".scope";
  for (const int pid : {static_cast<int>(getpid()), kMonitor, kQemu}) {
    Cgroup(pid, "8:pids:/elsewhere\n4:memory:" + cgroup + "\n0::/elsewhere\n");
  }
  Members(cgroup, {getpid(), kMonitor, kQemu}, "cgroup/memory");
  const auto launcher = Find();
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->memory_cgroup, tree_.path("cgroup/memory" + cgroup));
}

TEST_F(LauncherTest, TiesItFromAContainersOwnCgroupNamespace) {
  roots_.cgroup_namespace = CgroupOf(kOther);
  for (const int pid : {static_cast<int>(getpid()), kMonitor, kQemu}) {
    Cgroup(pid, "0::/../../pod" + kUid + "/" + kContainer + "\n");
  }
  const auto launcher = Find();
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->memory_cgroup, tree_.path("cgroup" + CgroupOf(kUid)));
}

TEST_F(LauncherTest, QemuMayLiveBelowTheContainer) {
  Members(CgroupOf(kUid), {getpid(), kMonitor});
  tree_.Write("cgroup" + CgroupOf(kUid) + "/emulator/cgroup.procs", "200\n");
  Cgroup(kQemu, "0::" + CgroupOf(kUid) + "/emulator\n");
  const auto launcher = Find();
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->memory_cgroup, tree_.path("cgroup" + CgroupOf(kUid)))
      << "the nearest with memory accounting";
}

TEST_F(LauncherTest, AUidThatIsNoneNeverBecomesAPath) {
  for (const std::string& uid : {std::string(), std::string("../") + kUid.substr(3), kUid + "/x"}) {
    const auto launcher =
        FindLauncher(roots_, tree_.path("kubelet"), {uid, "default", "vm2"}, kPatience);
    ASSERT_FALSE(launcher.ok());
    EXPECT_EQ(launcher.error().code(), Code::kInvalid);
    EXPECT_THAT(launcher.error().message(), HasSubstr("no pod's UID"));
  }
}

TEST_F(LauncherTest, SaysThatThereIsNoSocketYet) {
  std::filesystem::remove(Sockets() + "/launcher-sock");
  EXPECT_EQ(Refusal().code(), Code::kGone);
  EXPECT_THAT(Refusal().message(), HasSubstr("launcher pod " + kUid + ": its socket: "));
  tree_.Remove("kubelet");
  EXPECT_EQ(Refusal().code(), Code::kGone);
}

TEST_F(LauncherTest, SaysThatNobodyListens) {
  server_ = host::Fd();
  EXPECT_EQ(Refusal().code(), Code::kUnavailable);
}

TEST_F(LauncherTest, DoesNotFollowAPlantedLink) {
  std::filesystem::rename(Sockets() + "/launcher-sock", tree_.path("another-pods-socket"));
  std::filesystem::create_symlink(tree_.path("another-pods-socket"), Sockets() + "/launcher-sock");
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(), AllOf(HasSubstr("its socket"), HasSubstr("is no socket")));
}

TEST_F(LauncherTest, RefusesAListenerOfAnotherPod) {
  Cgroup(getpid(), "0::" + CgroupOf(kOther) + "\n");
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(),
              AllOf(HasSubstr("who listens on its socket (process " + std::to_string(getpid())),
                    HasSubstr("another pod, " + kOther)));
  Cgroup(getpid(), "0::/system.slice/ssh.service\n");
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(), HasSubstr("belongs to no pod"));
  tree_.Remove("proc/" + std::to_string(getpid()));
  EXPECT_EQ(Refusal().code(), Code::kGone) << "it ended since it began to listen";
}

TEST_F(LauncherTest, RefusesAParentOutsideThePod) {
  Process(1, 0);
  Cgroup(1, "0::/init.scope\n");
  Process(getpid(), 1);
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(), HasSubstr("the launcher's parent (process 1)"));
}

TEST_F(LauncherTest, RefusesAQemuOfAnotherPod) {
  Cgroup(kQemu, "0::" + CgroupOf(kOther) + "\n");
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(),
              AllOf(HasSubstr("QEMU (process 200)"), HasSubstr("another pod, " + kOther)));
  Cgroup(kQemu, "pear\n");
  EXPECT_THAT(Refusal().message(), HasSubstr("QEMU (process 200)"));
}

TEST_F(LauncherTest, SaysThatThereIsNoQemuYet) {
  const auto none = [&](const char* why) {
    const Error refusal = Refusal();
    EXPECT_EQ(refusal.code(), Code::kNotFound) << why << ": " << refusal.message();
    EXPECT_THAT(refusal.message(), HasSubstr("the QEMU of default_vm2"));
  };
  Program(kQemu, "/usr/bin/virtqemud");
  none("another program");
  Program(kQemu, "/usr/bin/qemu-system-x86_64");
  Process(kQemu, 1);
  none("another's child");
  Qemu(kQemu, kMonitor, "default_vm22");
  none("another domain");
  tree_.Write("proc/200/cmdline", std::string("qemu-system-x86_64\0-machine\0none\0", 33));
  none("libvirt looks at what QEMU can do");
  Members(CgroupOf(kUid), {getpid(), kMonitor});
  none("not in the pod's cgroup");
  Qemu(kQemu, kMonitor, "default_vm2");
  Members(CgroupOf(kUid), {getpid(), kMonitor, kQemu});
  EXPECT_TRUE(Find().ok());
  tree_.Remove("proc/200");
  none("it ended");
}

TEST_F(LauncherTest, KnowsQemuByEachOfItsNames) {
  for (const char* path : {"/usr/libexec/qemu-kvm", "/usr/bin/qemu-system-aarch64",
                           "/usr/bin/qemu-system-x86_64 (deleted)"}) {
    Program(kQemu, path);
    EXPECT_TRUE(Find().ok()) << path;
  }
  for (const char* path : {"/usr/bin/qemu-img", "/qemu-system/x", "/usr/bin/qemu-kvm2"}) {
    Program(kQemu, path);
    EXPECT_EQ(Refusal().code(), Code::kNotFound) << path;
  }
}

TEST_F(LauncherTest, TwoQemusOfOneVmAreNone) {
  Qemu(201, kMonitor, "default_vm2");
  Members(CgroupOf(kUid), {getpid(), kMonitor, kQemu, 201});
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(), HasSubstr("processes 200 and 201"));
}

TEST_F(LauncherTest, APodsMemoryIsNeverThatOfAllPods) {
  tree_.Remove("cgroup" + CgroupOf(kUid) + "/memory.current");
  tree_.Write("cgroup/kubepods/burstable/memory.current", "1\n");
  EXPECT_EQ(Refusal().code(), Code::kInvalid);
  EXPECT_THAT(Refusal().message(), HasSubstr("no memory accounting of the pod's own"));
  tree_.Write("cgroup/kubepods/burstable/pod" + kUid + "/memory.current", "1\n");
  const auto launcher = Find();
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->memory_cgroup, tree_.path("cgroup/kubepods/burstable/pod" + kUid));
}

TEST_F(LauncherTest, LooksAtOnlySoManyProcesses) {
  std::string text;
  for (int pid = 1000; pid < 6000; ++pid) text += std::to_string(pid) + "\n";
  tree_.Write("cgroup" + CgroupOf(kUid) + "/cgroup.procs", text);
  EXPECT_EQ(Refusal().code(), Code::kExhausted);
}

// An image with a libvirt in it, and a process whose root folder it is.
class LibvirtSocketTest : public ::testing::Test {
 protected:
  LibvirtSocketTest() {
    std::filesystem::create_directories(tree_.path("image/run/libvirt"));
    std::filesystem::create_directories(tree_.path("image/var"));
    std::filesystem::create_symlink("/run", tree_.path("image/var/run"));
    server_ = Bind(tree_.path("image/run/libvirt"), "libvirt-sock");
    EXPECT_EQ(listen(server_.get(), 8), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (chroot(tree_.path("image").c_str()) != 0) _exit(1);
      raise(SIGSTOP);
      _exit(0);
    }
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
    confined_ = WIFSTOPPED(status);
  }
  ~LibvirtSocketTest() override {
    if (!confined_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void Link(const std::string& to) const {
    tree_.Remove("image/run/libvirt/virtqemud-sock");
    std::filesystem::create_symlink(to, tree_.path("image/run/libvirt/virtqemud-sock"));
  }
  Result<LibvirtSocket> Open(uid_t uid) const {
    auto process = host::Process::Open(roots_, pid_);
    if (!process) return process.error();
    return OpenLibvirtSocket(roots_, Launcher{1, uid, *std::move(process), ""});
  }

  host::TemporaryTree tree_;
  host::Roots roots_;
  host::Fd server_;
  pid_t pid_ = -1;
  bool confined_ = false;
};

TEST_F(LibvirtSocketTest, IsFoundThroughTheImagesOwnLinks) {
  if (!confined_) GTEST_SKIP() << "may not chroot: run as root";
  Link("libvirt-sock");
  const auto libvirt = Open(107);
  ASSERT_TRUE(libvirt.ok()) << libvirt.error().message();
  struct stat wanted {};
  struct stat found {};
  ASSERT_EQ(stat(tree_.path("image/run/libvirt/libvirt-sock").c_str(), &wanted), 0);
  ASSERT_EQ(fstat(libvirt->socket.get(), &found), 0);
  EXPECT_EQ(found.st_ino, wanted.st_ino);

  const std::string prefix = "qemu+unix:///session?socket=";
  ASSERT_TRUE(libvirt->uri.starts_with(prefix)) << libvirt->uri;
  tree_.Remove("image/run");  // names are of no more use to anybody
  const host::Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  libvirt->uri.substr(prefix.size()).copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0)
      << libvirt->uri << ": " << errno;
}

TEST_F(LibvirtSocketTest, RootsLibvirtIsTheSystems) {
  if (!confined_) GTEST_SKIP() << "may not chroot: run as root";
  Link("/var/run/libvirt/libvirt-sock");
  const auto libvirt = Open(0);
  ASSERT_TRUE(libvirt.ok()) << libvirt.error().message();
  EXPECT_TRUE(libvirt->uri.starts_with("qemu+unix:///system?socket=")) << libvirt->uri;
}

TEST_F(LibvirtSocketTest, ALinkOutOfTheImageLeadsNowhere) {
  if (!confined_) GTEST_SKIP() << "may not chroot: run as root";
  const host::Fd outside = Bind(tree_.path(), "outside");
  for (const std::string& to : {tree_.path("outside"), std::string("../../../outside")}) {
    Link(to);
    const auto libvirt = Open(0);
    ASSERT_FALSE(libvirt.ok()) << to;
    EXPECT_EQ(libvirt.error().code(), Code::kGone) << libvirt.error().message();
  }
  Link("/proc/self/root");
  EXPECT_FALSE(Open(0).ok());
  Link("virtqemud-sock");
  EXPECT_EQ(Open(0).error().code(), Code::kInvalid) << "a loop";
  tree_.Write("image/run/libvirt/file", "");
  Link("file");
  EXPECT_EQ(Open(0).error().code(), Code::kInvalid) << "no socket";
  tree_.Remove("image/run/libvirt/virtqemud-sock");
  EXPECT_EQ(Open(0).error().code(), Code::kGone);
}

// The whole of it with real processes in a real cgroup: this test's child is the monitor, its
// children are the launcher and QEMU, a shell under that name.
class RealLauncher : public LauncherFixture {
 protected:
  RealLauncher() {
    // Whatever the monitor leaves comes to us, to be waited for.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    server_ = host::Fd();
    std::filesystem::remove(Sockets() + "/launcher-sock");
    const auto own = host::ReadFile(real_.proc + "/self/cgroup", 1 << 16);
    const auto line = own ? host::ParseProcCgroup(*own) : own.error();
    const std::string hierarchy = host::MemoryRoot(real_, line.ok() && line->v1);
    const std::string name = "/ullage-test-" + std::to_string(getpid());
    for (const std::string& part :
         {name, name + "/kubepods", name + "/kubepods/burstable",
          name + "/kubepods/burstable/pod" + kUid, name + CgroupOf(kUid)}) {
      // On v2 each of our folders has to hand memory on; v1 has no such file.
      const std::string above = made_.empty() ? "" : made_.back() + "/cgroup.subtree_control";
      const host::Fd control(open(above.c_str(), O_WRONLY | O_CLOEXEC));
      if (control.valid() && write(control.get(), "+memory", 7) != 7) return;
      if (mkdir((hierarchy + part).c_str(), 0755) != 0) return;
      made_.push_back(hierarchy + part);
    }
    cgroup_ = made_.back();
  }
  ~RealLauncher() override {
    for (const pid_t pid : pids_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) {
      // It takes a moment after the last process has ended.
      for (int i = 0; i < 100 && rmdir(path->c_str()) != 0 && errno == EBUSY; ++i) usleep(20000);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  // The monitor, the launcher and QEMU, once each is what it has to be: the last end of the pipe
  // is closed by QEMU's exec.
  bool Start() {
    std::filesystem::copy_file("/bin/sh", tree_.path("qemu-system-x86_64"));
    int ends[2] = {-1, -1};
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    const pid_t monitor = fork();
    if (monitor == 0) Monitor(ends[1]);
    close(ends[1]);
    pids_ = {monitor};
    pid_t pid = 0;
    while (read(ends[0], &pid, sizeof pid) == sizeof pid) pids_.push_back(pid);
    close(ends[0]);
    return pids_.size() == 3;
  }
  [[noreturn]] void Monitor(int out) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int procs = open((cgroup_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
    if (write(procs, "0", 1) != 1) _exit(1);
    const pid_t launcher = fork();
    if (launcher == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const host::Fd server = Bind(Sockets(), "launcher-sock");
      if (listen(server.get(), 8) != 0) _exit(1);
      close(out);
      for (;;) pause();
    }
    const pid_t qemu = fork();
    if (qemu == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execl(tree_.path("qemu-system-x86_64").c_str(), "qemu-system-x86_64", "-c", "kill -STOP $$",
            "-name", "guest=default_vm2,debug-threads=on", nullptr);
      _exit(1);
    }
    const std::array<pid_t, 2> children{launcher, qemu};
    if (write(out, children.data(), sizeof children) != sizeof children) _exit(1);
    close(out);
    for (;;) pause();
  }

  const host::Roots real_;
  std::string cgroup_;
  std::vector<std::string> made_;
  std::vector<pid_t> pids_;
};

TEST_F(RealLauncher, IsTiedToItsQemu) {
  if (cgroup_.empty()) GTEST_SKIP() << "may not make a cgroup: run as root";
  ASSERT_TRUE(Start());
  const LauncherPod pod{kUid, "default", "vm2"};
  const auto launcher = FindLauncher(real_, tree_.path("kubelet"), pod, kPatience);
  ASSERT_TRUE(launcher.ok()) << launcher.error().message();
  EXPECT_EQ(launcher->pid, pids_[1]);
  EXPECT_EQ(launcher->qemu.pid(), pids_[2]);
  EXPECT_EQ(launcher->memory_cgroup, cgroup_);

  // It is the monitor's child, who does not wait for it: a zombie.
  const host::Fd ending(static_cast<int>(syscall(SYS_pidfd_open, pids_[2], 0)));
  kill(pids_[2], SIGKILL);
  pollfd ended{ending.get(), POLLIN, 0};
  ASSERT_EQ(poll(&ended, 1, -1), 1);
  EXPECT_EQ(launcher->qemu.Runs().error().code(), Code::kGone);
  EXPECT_EQ(FindLauncher(real_, tree_.path("kubelet"), pod, kPatience).error().code(),
            Code::kNotFound);
}

}  // namespace
}  // namespace ullage::sources
