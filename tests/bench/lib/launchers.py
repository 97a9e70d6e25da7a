# SPDX-License-Identifier: Apache-2.0
"""A node's worth of VMs for the agent in Kubernetes mode: a real API server that holds their objects, and
stand-ins (tests/bench/standin) for their pods' processes and libvirts, in cgroups as the kubelet lays them out.

Each is a context manager: what it started ends with it, also on Ctrl-C and on SIGTERM.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid

from lib.lab import BUILD, ROOT, BenchError, call, end

NODE = "bench"
STANDIN = ROOT / "tests/bench/standin"
LIMIT_MIB = 64
MEMORY = pathlib.Path("/sys/fs/cgroup/memory")
PODS = "/api/v1/namespaces/default/pods"
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Refused(BenchError):
    def __init__(self, status, text):
        super().__init__(f"API server: {status}: {text[:300]}")
        self.status = status


class ApiServer:
    """scripts/kube-lab's, with the kinds that the agent follows and a Node that no kubelet keeps."""

    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="ullage-bench."))
        self.dir = self.work / "api"
        self.kubeconfig = self.dir / "etc/admin.kubeconfig"

    def __enter__(self):
        try:
            call([ROOT / "scripts/kube-lab", "start", self.dir])
            place = urllib.parse.urlsplit(re.search(r"server: *\"?([^\s\"]+)", self.kubeconfig.read_text()).group(1))
            self.place = (place.hostname, place.port)
            self.tls = ssl.create_default_context(cafile=self.dir / "keys/ca.crt")
            header = (self.dir / "state/admin.header").read_text()
            self.headers = {"Authorization": header.strip().split(": ", 1)[1]}
            self._fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        call([ROOT / "scripts/kube-lab", "stop", self.dir])
        shutil.rmtree(self.work)

    def ask(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection(*self.place, timeout=30, context=self.tls)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, data, {**self.headers, "Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, text)
        return json.loads(text)

    def _fill(self):
        files = [*sorted((ROOT / "crds").glob("*.yaml")), ROOT / "tests/cluster/vmi-crd.yaml"]
        for file in files:
            name = re.search(r"^  name: (\S+)", file.read_text(), re.MULTILINE).group(1)
            self.ask("PATCH", f"{DEFINITIONS}/{name}?fieldManager=bench", file.read_bytes(), "application/apply-patch+yaml")
        deadline = time.monotonic() + 60
        while not self._served():
            if time.monotonic() > deadline:
                raise BenchError("the API server does not serve VMIs")
            time.sleep(0.2)
        self.ask("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        memory = {"memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20}Mi"}
        self.ask("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {"capacity": memory, "allocatable": memory}},
                 "application/merge-patch+json")

    def _served(self):
        try:
            return self.ask("GET", VMIS)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    def vm(self, name, mib):
        """A VMI with its launcher pod on the node; the pod's UID. About as long as KubeVirt's."""
        labels = {"kubevirt.io/nodeName": NODE, "app": "bench"}
        vmi = self.ask("POST", VMIS, {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": name, "labels": labels, "annotations": {"ullage.io/placement": "reclaimed"}},
            "spec": {"domain": {"memory": {"guest": f"{mib}Mi"}, "cpu": {"cores": 4},
                                "resources": {"requests": {"memory": f"{mib // 2}Mi"}}, "devices": {}}}})
        environment = [{"name": f"A_VARIABLE_{index}", "value": "of the launcher's " * 4} for index in range(60)]
        pod = self.ask("POST", PODS, {
            "metadata": {"name": f"virt-launcher-{name}",
                         "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": vmi["metadata"]["uid"]}},
            "spec": {"nodeName": NODE, "automountServiceAccountToken": False, "containers": [
                {"name": "compute", "image": "none", "env": environment,
                 "resources": {"requests": {"memory": f"{mib // 2 + 200}Mi"}}}]}})
        self.ask("PATCH", f"{VMIS}/{name}/status", {"status": {
            "phase": "Running", "nodeName": NODE, "activePods": {pod["metadata"]["uid"]: NODE},
            "memory": {"guestAtBoot": f"{mib}Mi", "guestCurrent": f"{mib}Mi"}}}, "application/merge-patch+json")
        self.ask("PATCH", f"{PODS}/virt-launcher-{name}/status", {"status": {"phase": "Running"}},
                 "application/merge-patch+json")
        return pod["metadata"]["uid"]


class Node:
    """The stand-ins of `count` VMs, of which each has touched `touched` MiB."""

    def __init__(self, api, count, mib=1024, touched=1):
        if not (MEMORY / "cgroup.procs").exists():
            raise BenchError("wants the memory hierarchy of cgroup v1")
        self.api, self.count, self.mib, self.touched = api, count, mib, touched
        self.dir = api.work / "node"
        self.cgroup = MEMORY / f"ullage-bench-{os.getpid()}"
        self.kubelet = self.dir / "kubelet"
        self.running = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.running:  # each ends when its standard input does
            process.stdin.close()
        for process in self.running:
            process.wait()
            process.stdout.close()
        # The kernel lets go of those that ended in its own time.
        deadline = time.monotonic() + 30
        for folder in [pathlib.Path(at) for at, _, _ in os.walk(self.cgroup, topdown=False)]:
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)

    def _launch(self, command, folder=None):
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   cwd=folder, text=True, start_new_session=True)
        self.running.append(process)
        return process

    @staticmethod
    def _await(process):
        if process.stdout.readline() != "ready\n":
            raise BenchError(f"{process.args}: does not come up")

    def group(self, *names):
        folder = self.cgroup.joinpath("kubepods", "burstable", *names)
        folder.mkdir(parents=True)
        return folder

    def _start(self):
        self.dir.mkdir()
        program = self.dir / "launcher"
        call(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", program,
              STANDIN / "launcher.c"])
        names = [f"vm{index:03}" for index in range(self.count)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            uids = list(pool.map(lambda name: self.api.vm(name, self.mib), names))
        plan, launchers = [], []
        for name, uid in zip(names, uids):
            root = self.dir / name
            (root / "var/run/libvirt").mkdir(parents=True)
            os.link(program, root / "qemu-system-standin")
            sockets = self.kubelet / "pods" / uid / "volumes/kubernetes.io~empty-dir/sockets"
            sockets.mkdir(parents=True)
            domain = f"default_{name}"
            plan.append({"socket": str(root / "var/run/libvirt/virtqemud-sock"), "domain": domain, "mib": self.mib})
            # A socket's path is limited to 108 bytes: its name, in its folder.
            launchers.append(([program, self.group(f"pod{uid}", uuid.uuid4().hex * 2), "launcher-sock", root, domain,
                               self.touched], sockets))
        (self.dir / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        self._await(self._launch([STANDIN / "libvirt.py", self.dir / "plan.json"]))
        started = [self._launch(*launcher) for launcher in launchers]
        for process in started:
            self._await(process)


class NodeAgent:
    """ullage-agent as the chart runs it, in a memory cgroup of its own that may have LIMIT_MIB; mode publish."""

    PORT = 9797

    def __init__(self, api, node):
        self.api, self.node, self.process = api, node, None
        # On tmpfs, as /run is on a node: what is written there is charged to the agent.
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="ullage-bench.", dir="/dev/shm"))
        self.socket = self.state / "agent.sock"
        self.stop = threading.Event()
        self.prober = threading.Thread(target=self._probe)

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop.set()
        if self.prober.is_alive():
            self.prober.join()
        if self.process is not None:
            end(self.process)
        shutil.rmtree(self.state)

    def _start(self):
        config = self.state / "agent.yaml"
        config.write_text(f"mode: publish\nlisten: 127.0.0.1:{self.PORT}\nsocket: {self.socket}\n"
                          f"state_dir: {self.state}\nkubernetes:\n  node: {NODE}\n"
                          f"  kubeconfig: {self.api.kubeconfig}\n  kubelet_dir: {self.node.kubelet}\n", encoding="utf-8")
        program = BUILD / "bin/ullage-agent"
        forget(program)
        self.group = self.node.group(f"pod{uuid.uuid4()}", uuid.uuid4().hex * 2)
        (self.group / "memory.limit_in_bytes").write_text(str(LIMIT_MIB << 20))
        log = self.api.work / "agent.log"
        enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
        with open(log, "ab") as file:
            self.process = subprocess.Popen(["sh", "-c", enter, "sh", self.group, program, "--config", config],
                                            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        deadline = time.monotonic() + 240
        while (missing := self._missing()) > 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{missing} VMs are not known to give memory back: "
                                 + log.read_text(encoding="utf-8", errors="replace")[-3000:])
            time.sleep(1)
        self.prober.start()

    def _missing(self):
        top = subprocess.run([str(BUILD / "bin/ullagectl"), "--socket", str(self.socket), "top", "--once", "-o", "json"],
                             capture_output=True, check=False)
        vms = json.loads(top.stdout).get("vms", []) if top.returncode == 0 else []
        return self.node.count - sum(vm.get("hinting") == "on" and "resident" in vm for vm in vms)

    def _probe(self):
        """As the kubelet (the chart's probes) and Prometheus (every 30 s) do."""
        for second in range(1 << 30):
            if self.stop.wait(1):
                return
            for path, period in (("/readyz", 5), ("/healthz", 20), ("/metrics", 30)):
                if second % period == 0:
                    self._get(path)

    def _get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.PORT, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def charge(self):
        """MiB by the agent's own cgroup: all, and without the page cache that nobody uses."""
        usage = int((self.group / "memory.usage_in_bytes").read_text())
        stat = dict(line.split() for line in (self.group / "memory.stat").read_text().splitlines())
        return {"charged": usage / (1 << 20), "working_set": (usage - int(stat["total_inactive_file"])) / (1 << 20),
                "anon": int(stat["total_rss"]) / (1 << 20), "files": int(stat["total_cache"]) / (1 << 20)}


def forget(program):
    """Lets the kernel drop the pages of a program and of what it is linked with: they are charged to whoever reads
    them first, and in a pod with an image of its own that is the agent."""
    libraries = [word for word in call(["ldd", program]).split() if word.startswith("/")]
    for path in [program, *libraries]:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
