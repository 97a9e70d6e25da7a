# SPDX-License-Identifier: Apache-2.0
"""Ullage installed by its chart on the node of the tests, with real guests in real pods."""
import http.client
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESOURCE = "ullage.io/reclaimable-memory"
IMAGE = "ullage.io/lab/ullage"
NODE = "ullage-lab"
MIB = 1 << 20
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
PODS = "/api/v1/namespaces/default/pods"
RECLAIMS = "/apis/ullage.io/v1alpha1/nodereclaims"


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


def wait_for(what, condition, timeout=120.0, every=0.1):
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(every)


class Cluster:
    """A lab (scripts/kube-vm) and what is in it. Everything ends with `stop`."""

    def __init__(self, node_mib, programs):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="ullage-cluster-"))
        self.lab = self.work / "lab"
        self.node_mib = node_mib
        self.programs = programs
        self.environment = {}
        self.address = None  # the agent's pod's
        self.consoles = {}  # by VM: the socket of its serial shell

    # --- The lab

    def run(self, *words, timeout=600, text=None):
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=timeout, input=text, stdin=None if text else subprocess.DEVNULL,
                              check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, words[:6]))}: {done.returncode}: "
                                 f"{(done.stderr or done.stdout)[-1500:]}")
        return done.stdout

    def kube_lab(self, command, *words, **keys):
        return self.run(ROOT / "scripts/kube-lab", command, self.lab, *words, **keys)

    def vm(self, command, *words, **keys):
        return self.run(ROOT / "scripts/kube-vm", command, self.lab, *words, **keys).strip()

    def start(self):
        self.vm("start", "--without-crds", "--node-mib", self.node_mib)
        # In words of the shell, quoted by it.
        said = self.run("bash", "-c", f"eval \"$('{ROOT}/scripts/kube-lab' env '{self.lab}')\"; env -0")
        self.environment = dict(pair.split("=", 1) for pair in said.split("\0") if pair)
        clients = self.run(ROOT / "scripts/kube-clients").strip()
        self.environment["PATH"] = f"{clients}:{self.environment['PATH']}"
        config = (self.lab / "etc/admin.kubeconfig").read_text()
        place = urllib.parse.urlsplit(re.search(r"server: *\"?([^\s\"]+)", config).group(1))
        self.place = (place.hostname, place.port)
        self.tls = ssl.create_default_context(cafile=self.lab / "keys/ca.crt")
        header = (self.lab / "state/admin.header").read_text()
        self.headers = {"Authorization": header.strip().split(": ", 1)[1]}

    def cgroup(self):
        """Of all of its pods, as the node's host sees it."""
        name = "ullage-kube-" + (self.lab / "state/id").read_text().strip()
        found = [path for path in (pathlib.Path("/sys/fs/cgroup/memory") / name, pathlib.Path("/sys/fs/cgroup") / name)
                 if (path / "memory.limit_in_bytes").exists() or (path / "memory.max").exists()]
        return str(found[0])

    def load_images(self):
        folder = self.work / "images"
        self.run(ROOT / "scripts/images", "--prebuilt", self.programs, "--name", IMAGE, "--save", folder)
        self.kube_lab("load", folder / "agent.tar")
        shutil.rmtree(folder)

    def stop(self):
        subprocess.run([ROOT / "scripts/kube-vm", "stop", self.lab], check=False, stdin=subprocess.DEVNULL)
        shutil.rmtree(self.work, ignore_errors=True)

    def client(self, name, *words, **keys):
        """kubectl or helm."""
        done = subprocess.run([shutil.which(name, path=self.environment["PATH"]), *map(str, words)], env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, check=False,
                              stdin=subprocess.DEVNULL, **keys)
        if done.returncode:
            raise AssertionError(f"{name} {' '.join(map(str, words[:4]))}: {done.stderr[-1500:]}")
        return done.stdout

    # --- The API server

    def api(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection(*self.place, timeout=30, context=self.tls)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {**self.headers, "Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, text)
        return json.loads(text)

    def node(self):
        return self.api("GET", f"/api/v1/nodes/{NODE}")

    def published(self, node=None):
        """Bytes; None: there is no such key."""
        status = (node or self.node())["status"]
        capacity, allocatable = (status[part].get(RESOURCE) for part in ("capacity", "allocatable"))
        if capacity != allocatable:
            raise AssertionError(f"capacity {capacity}, allocatable {allocatable}")
        return None if capacity is None else quantity(capacity)

    def reclaim(self):
        return self.api("GET", f"{RECLAIMS}/{NODE}")

    def pods(self, selector=""):
        return self.api("GET", f"{PODS}?labelSelector={urllib.parse.quote(selector)}")["items"]

    def launcher(self, name):
        found = self.pods(f"vm.kubevirt.io/name={name}")
        return found[0] if found else None

    def granted(self):
        """Bytes of the resource that pods hold which are bound here and have not ended."""
        return sum(
            quantity(box["resources"].get("requests", {}).get(RESOURCE, "0"))
            for pod in self.api("GET", "/api/v1/pods")["items"]
            if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ("Succeeded", "Failed")
            for box in pod["spec"]["containers"])

    def rejected(self):
        """Pods that the kubelet refused, with why."""
        return {pod["metadata"]["name"]: pod["status"].get("message", "")
                for pod in self.api("GET", "/api/v1/pods")["items"]
                if pod["status"].get("reason", "").startswith("OutOf")}

    # --- Ullage

    def install(self, values, command="install"):
        everything = {"image": {"repository": IMAGE, "pullPolicy": "Never"}, **values}
        path = self.work / "values.json"
        path.write_text(json.dumps(everything))
        self.client("helm", command, "ullage", ROOT / "charts/ullage", "--namespace", "ullage-system",
                    "--create-namespace", "--values", path, "--wait", "--timeout", "5m")

    def upgrade(self, values):
        """Ready once there is an agent with these values."""
        old = self.agent_pod()["metadata"]["uid"]
        self.install(values, "upgrade")

        def fresh():
            pod = self.agent_pod()
            return pod and pod["metadata"]["uid"] != old and ready(pod) and pod
        self.address = wait_for("a new agent", fresh)["status"]["podIP"]

    def process(self, name):
        """Its pid, of the agent's pod on this node."""
        uid = self.agent_pod()["metadata"]["uid"]
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "comm").read_text().strip() == name and uid in (folder / "cgroup").read_text():
                    return int(folder.name)
            except OSError:
                pass  # it has ended
        raise AssertionError(f"no {name} in pod {uid}")

    def agent_pod(self):
        found = self.api("GET", "/api/v1/namespaces/ullage-system/pods?labelSelector="
                         + urllib.parse.quote("app.kubernetes.io/component=agent"))["items"]
        alive = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        return alive[0] if alive else None

    def agent_log(self):
        folder = self.lab / "node/var/log/pods"
        return "".join(path.read_text(errors="replace")
                       for path in sorted(folder.glob("ullage-system_ullage-*/*/*.log")))

    def metrics(self):
        connection = http.client.HTTPConnection(self.address, 9797, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def ctl(self, *words):
        """ullagectl on the node, as JSON."""
        socket = self.lab / "node/run/ullage/agent.sock"
        return json.loads(self.run(self.programs / "ullagectl", "--socket", socket, *words, "-o", "json"))

    # --- VMs

    def guest(self, name, command):
        """In the guest, past the API server: it may be away."""
        if name not in self.consoles:
            uid = self.api("GET", f"{VMIS}/{name}")["metadata"]["uid"]
            pod = self.vm("pod", name).split()[1]
            volumes = self.lab / f"node/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~empty-dir"
            self.consoles[name] = volumes / "private" / uid / "virt-serial1"
        return self.run("python3", "-I", ROOT / "scripts/lib/serial-exec.py", self.consoles[name], 60, command)

    def hold(self, name, mib):
        self.guest(name, f"hog {mib} --hold 100000 </dev/null >/dev/null 2>&1 & echo $! >/run/held")

    def release(self, name):
        """Returns the moment (monotonic) at which the guest's program had ended."""
        self.guest(name, 'kill "$(cat /run/held)"')
        return time.monotonic()

    def charge(self, name):
        return int(self.vm("charge", name))

    def folder(self, name):
        """The memory cgroup of its pod."""
        pod = self.vm("pod", name).split()[1]
        return next(path for path in pathlib.Path(self.cgroup()).rglob(f"pod{pod}"))


class NodeWatch:
    """Follows the Node; `moments` are (monotonic, published, holder) in the order in which they came."""

    def __init__(self, cluster):
        self.cluster, self.moments, self.ended = cluster, [], False
        self.lock = threading.Condition()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        path = f"/api/v1/nodes?watch=1&fieldSelector=metadata.name%3D{NODE}&timeoutSeconds=300"
        while not self.ended:
            try:
                connection = http.client.HTTPSConnection(*self.cluster.place, timeout=310, context=self.cluster.tls)
                connection.request("GET", path, headers=self.cluster.headers)
                answer = connection.getresponse()
                while not self.ended:
                    line = answer.readline()
                    if not line:
                        break
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self.note(event["object"])
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.5)

    def note(self, node):
        value = node["status"]["capacity"].get(RESOURCE)
        value = None if value is None else quantity(value)
        with self.lock:
            if not self.moments or self.moments[-1][1] != value:
                self.moments.append((time.monotonic(), value))
                self.lock.notify_all()

    def stop(self):
        self.ended = True

    def first(self, since, condition, timeout):
        """When, after `since`, the value first met `condition`."""
        deadline = time.monotonic() + timeout
        with self.lock:
            while True:
                for moment, value in self.moments:
                    if moment >= since and condition(value):
                        return moment
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout:g} s on the Node; last {self.moments[-3:]}")
                self.lock.wait(left)


def ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def quantity(text):
    units = {"": 1, "Ki": 1 << 10, "Mi": MIB, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}
    text = str(text)
    number = text.rstrip("KMGik")
    return int(number) * units[text[len(number):]]


def say(text):
    print(text, file=sys.stderr, flush=True)
