// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/launcher.h"

#include <fcntl.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "node-agent/host/cgroup.h"
#include "node-agent/host/folder_walk.h"
#include "node-agent/host/in_root.h"
#include "node-agent/host/peer.h"
#include "node-agent/host/pod_cgroup.h"
#include "node-agent/host/text.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kCgroupTextLimit = 64 << 10;
// A launcher pod has a dozen processes. One that has thousands hides its QEMU from itself only.
constexpr std::size_t kMostProcesses = 4096;
// KubeVirt mounts libvirt's folder here; in most images /var/run is a link to /run.
constexpr const char* kLibvirtSocket = "/var/run/libvirt/virtqemud-sock";

Result<host::Peer> LauncherPeer(const host::Roots& roots, const std::string& kubelet,
                                const LauncherPod& pod, milliseconds patience) {
  // Down to this folder everything is the kubelet's own; what is in it is the pod's.
  const auto folder = host::OpenDirectory(kubelet + "/pods/" + pod.uid +
                                          "/volumes/kubernetes.io~empty-dir/sockets");
  if (!folder) return folder.error();
  const auto socket = host::OpenSocketAt(*folder, "launcher-sock");
  if (!socket) return socket.error();
  return host::PeerOf(roots, *socket, patience).In("launcher-sock");
}

// A process of the pod.
struct Member {
  host::Process process;
  host::CgroupLine cgroup;
  std::string pod_cgroup;  // the pod's own
};

// `process`, if its cgroup is the pod's. `role` is how errors name it.
Result<Member> InPod(const host::Roots& roots, host::Process process, const LauncherPod& pod,
                     const char* role) {
  const std::string who = std::string(role) + " (process " + std::to_string(process.pid()) + ")";
  const auto text = host::ReadFileAt(process.folder().get(), "cgroup", kCgroupTextLimit);
  if (!text) return text.error().In(who);
  auto cgroup = host::LocateCgroup(roots, *text);
  if (!cgroup) return cgroup.error().In(who);
  auto found = host::PodOfCgroup(cgroup->path);
  // To the caller a process of no pod is one of the wrong pod, not one that may still come.
  if (!found) return Error(Code::kInvalid, found.error().message()).In(who);
  if (found->uid != pod.uid) {
    return Error(Code::kInvalid, "its cgroup belongs to another pod, " + found->uid).In(who);
  }
  return Member{std::move(process), *std::move(cgroup), std::move(found->path)};
}

Result<Member> OpenInPod(const host::Roots& roots, std::int32_t pid, const LauncherPod& pod,
                         const char* role) {
  auto process = host::Process::Open(roots, pid);
  if (!process) return process.error().In(role);
  return InPod(roots, *std::move(process), pod, role);
}

// The processes of the pod, in whichever cgroup below its own.
Result<std::vector<std::int32_t>> Processes(const std::string& hierarchy, const std::string& pod) {
  std::vector<std::int32_t> all;
  std::optional<Error> failed;
  // Walked to its end: it "finds" nothing.
  const auto end = host::FindFolder(hierarchy, pod, [&](const std::string& path) {
    const auto some = host::CgroupMembers(hierarchy + path);
    if (some) {
      all.insert(all.end(), some->begin(), some->end());
    } else if (some.error().code() == Code::kDenied) {
      failed = some.error();
    }
    return all.size() > kMostProcesses ? host::Visit::kFound : host::Visit::kDescend;
  });
  if (end.ok()) {
    return Error(Code::kExhausted,
                 "its pod has more than " + std::to_string(kMostProcesses) + " processes");
  }
  if (end.error().code() != Code::kNotFound) return end.error();
  if (all.empty() && failed) return *failed;
  return all;
}

bool IsQemu(std::string_view program) {
  return program.starts_with("qemu-system") || program == "qemu-kvm";
}

// Whether `process` is the QEMU that runs `domain`.
Result<bool> Runs(const host::Process& process, const std::string& domain) {
  const auto program = process.Executable();
  if (!program) return program.error();
  if (!IsQemu(*program)) return false;
  return process.HasOption("-name", "guest=" + domain);
}

Result<host::Process> FindQemu(const host::Roots& roots, const std::vector<std::int32_t>& pids,
                               std::int32_t parent, const std::string& domain) {
  std::optional<host::Process> found;
  std::optional<Error> failed;
  for (const std::int32_t pid : pids) {
    auto process = host::Process::Open(roots, pid);
    if (!process || process->parent() != parent) continue;  // it ended, or is not of that family
    const auto runs = Runs(*process, domain);
    if (!runs && runs.error().code() != Code::kGone) failed = runs.error();
    if (!runs || !*runs) continue;
    if (found) {
      return Error(Code::kInvalid, "processes " + std::to_string(found->pid()) + " and " +
                                       std::to_string(pid) + " both run it");
    }
    found.emplace(*std::move(process));
  }
  if (found) return *std::move(found);
  if (failed) return *failed;
  return Error(Code::kNotFound, "none among " + std::to_string(pids.size()) +
                                    " processes of the pod is a child of process " +
                                    std::to_string(parent) + " that runs it");
}

// What charges a process. The way up to a folder with accounting must not leave the pod.
Result<std::string> ChargedTo(const host::Roots& roots, const Member& member) {
  auto path = host::MemoryCgroupAt(roots, member.cgroup);
  if (!path) return path;
  const std::string pod = host::MemoryRoot(roots, member.cgroup.v1) + member.pod_cgroup;
  if (*path == pod || path->starts_with(pod + "/")) return path;
  return Error(Code::kInvalid, "no memory accounting of the pod's own, only of all pods");
}

Result<Launcher> Find(const host::Roots& roots, const std::string& kubelet, const LauncherPod& pod,
                      milliseconds patience) {
  const auto peer = LauncherPeer(roots, kubelet, pod, patience);
  if (!peer) return peer.error().In("its socket");
  const auto launcher = OpenInPod(roots, peer->pid, pod, "who listens on its socket");
  if (!launcher) return launcher.error();
  const auto parent = OpenInPod(roots, launcher->process.parent(), pod, "the launcher's parent");
  if (!parent) return parent.error();

  const std::string domain = pod.vm_namespace + "_" + pod.vm_name;
  const std::string who = "the QEMU of " + host::Printable(domain);
  const auto pids = Processes(host::MemoryRoot(roots, launcher->cgroup.v1), launcher->pod_cgroup);
  if (!pids) return pids.error().In(who);
  auto process = FindQemu(roots, *pids, parent->process.pid(), domain);
  if (!process) return process.error().In(who);
  auto qemu = InPod(roots, *std::move(process), pod, "QEMU");
  if (!qemu) return qemu.error();
  auto memory = ChargedTo(roots, *qemu);
  if (!memory) return memory.error().In(who);

  // Each was held while it was read. That all of it was true at one moment shows when they run
  // still.
  for (const Member* member : {&*launcher, &*parent, &std::as_const(*qemu)}) {
    if (const Status runs = member->process.Runs(); !runs) return runs.error();
  }
  return Launcher{peer->pid, peer->uid, std::move(qemu->process), *std::move(memory)};
}

}  // namespace

Result<Launcher> FindLauncher(const host::Roots& roots, const std::string& kubelet,
                              const LauncherPod& pod, milliseconds patience) {
  if (!host::IsPodUid(pod.uid)) {
    return Error(Code::kInvalid, "'" + host::Printable(pod.uid, 64) + "' is no pod's UID");
  }
  return Find(roots, kubelet, pod, patience).In("launcher pod " + pod.uid);
}

Result<LibvirtSocket> OpenLibvirtSocket(const host::Roots& roots, const Launcher& launcher) {
  const std::string where =
      "libvirt's socket in the root folder of process " + std::to_string(launcher.qemu.pid());
  const host::Fd root(
      openat(launcher.qemu.folder().get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return host::FromErrno(errno, where);
  auto socket = host::OpenInRoot(root, kLibvirtSocket, O_PATH);
  if (!socket) return socket.error().In(where);
  const Status is_socket = host::RequireSocket(*socket, kLibvirtSocket);
  if (!is_socket) return is_socket.error().In(where);
  // libvirtd runs as virt-launcher does, and one that is not root's has only a session.
  const std::string uri = std::string("qemu+unix:///") +
                          (launcher.uid == 0 ? "system" : "session") +
                          "?socket=" + host::PathOf(roots, *socket);
  return LibvirtSocket{*std::move(socket), uri};
}

}  // namespace ullage::sources
