// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "node-agent/host/file.h"
#include "node-agent/host/process.h"
#include "node-agent/model/time.h"

namespace ullage::sources {

/// A virt-launcher pod, as the API server names it.
struct LauncherPod {
  std::string uid;           ///< metadata.uid: the key of vmi.status.activePods
  std::string vm_namespace;  ///< of the VMI
  std::string vm_name;       ///< of the VMI
};

/// What runs in it.
struct Launcher {
  std::int32_t pid = 0;       ///< of virt-launcher
  uid_t uid = 0;              ///< whose virt-launcher, and so whose libvirt, it is
  host::Process qemu;         ///< held, so that its pid cannot come to mean another
  std::string memory_cgroup;  ///< absolute path of what charges QEMU, for host::MemoryCgroup::Open
};

/// Ties a launcher pod to its QEMU. Names can be taken and pids are reused, so nothing is believed
/// unless three ways end in the same pod; the error says which did not:
///   1. the socket `<kubelet>/pods/<uid>/volumes/kubernetes.io~empty-dir/sockets/launcher-sock`:
///      the kubelet keeps that folder for this pod alone, and the kernel says who listens there;
///   2. the cgroup of that process and of its parent, which only the kubelet and the container
///      runtime give: its pod's UID;
///   3. QEMU, found as KubeVirt itself finds it: a child of that parent whose program is called
///      qemu-system* or qemu-kvm. Looked for among the processes in this pod's cgroup only, it must
///      run the domain `<vm_namespace>_<vm_name>` (libvirt starts others for a moment, to see what
///      QEMU can do), and its own cgroup must be the pod's.
/// Everything that the pod's processes could have forged ends, at worst, in another process of the
/// same pod. `kubelet` is the kubelet's root folder, `roots.proc` shows the host's processes.
/// Blocks up to `patience` while the launcher's socket takes no connection.
/// kGone, kUnavailable, kNotFound: not there yet, or ending: look again later. kDeadline: see
/// host::PeerOf. kInvalid: the three do not agree, or what was found makes no sense. kDenied: a
/// right is missing: connecting wants CAP_DAC_OVERRIDE, /proc/PID/exe CAP_SYS_PTRACE.
/// Source: kubevirt/kubevirt, pkg/virt-handler/isolation and cmd-client, read at v1.10-dev.
Result<Launcher> FindLauncher(const host::Roots& roots, const std::string& kubelet,
                              const LauncherPod& pod, milliseconds patience);

/// libvirt's socket inside a launcher pod.
struct LibvirtSocket {
  host::Fd socket;  ///< has to stay open for as long as `uri` is used
  std::string uri;  ///< for virConnectOpen, of this process only
};

/// Opens it (O_PATH; connects to nobody), as QEMU's root folder has it: the image and whoever runs
/// in the pod decide what stands there, so the way goes through host::OpenInRoot. libvirt takes
/// only a path and would walk it again at each connect; `uri` therefore gives it the one that leads
/// to this open socket alone, /proc/self/fd/N.
/// What answers there is still the pod's: hostile. kGone: not there, or QEMU ended; kInvalid: no
/// socket, or links lead nowhere; kDenied: /proc/PID/root wants CAP_SYS_PTRACE; kUnavailable: see
/// host::OpenInRoot.
Result<LibvirtSocket> OpenLibvirtSocket(const host::Roots& roots, const Launcher& launcher);

}  // namespace ullage::sources
