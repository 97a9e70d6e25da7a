# SPDX-License-Identifier: Apache-2.0
"""A lab with real guests, the agent in it, and programs in its guests, for every bench.

Each is a context manager: what it started ends with it, also on Ctrl-C and on SIGTERM.
"""
import base64
import collections
import importlib.util
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / "build/release"
PROGRAMS = ("ullage-agent", "ullagectl", "ullage-libvirt-hook")
MIB = 1 << 20

# The protocol of the guest's second port is known to one file only; its name is no module name.
_SPEC = importlib.util.spec_from_file_location("serial_exec", ROOT / "scripts/lib/serial-exec.py")
serial_exec = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(serial_exec)


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


def end(process, patience=30):
    """Ends that very process, by SIGKILL when it does not listen."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def call(command, patience=900):
    """Its output. In a session of its own: a Ctrl-C is ours alone, and what it interrupts is ended in
    order."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=patience)
    except BaseException:
        end(process, 60)
        raise
    if process.returncode != 0:
        raise BenchError(f"{' '.join(str(word) for word in command)}: {process.returncode}: {output[-2000:]}")
    return output


def build(*programs):
    # ninja finds out by itself what is missing or old.
    if not (BUILD / "build.ninja").exists():
        BUILD.parent.mkdir(exist_ok=True)
        call(["cmake", "--preset", "release", "-S", ROOT])
    call(["ninja", "-C", BUILD, *(programs or PROGRAMS)])


def raise_on_signals():
    """SIGTERM and SIGHUP unwind like Ctrl-C does."""
    def unwind(number, _frame):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)


class Lab:
    def __init__(self, host_mib):
        self.host_mib = host_mib
        self.dir = tempfile.mkdtemp(prefix="ullage-bench.")

    def __enter__(self):
        try:
            self.command("up", "--host-mib", self.host_mib)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave half of it behind.
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, signal.SIG_IGN) for number in signals]
        self.command("down")
        for number, handler in zip(signals, before):
            signal.signal(number, handler)

    def command(self, *words):
        return call([ROOT / "scripts/lab", "--dir", self.dir, *words])

    def inside(self, *command):
        return [str(word) for word in (ROOT / "scripts/lab", "--dir", self.dir, "enter", *command)]

    def status(self):
        """dir, holder, libvirtd, cgroup."""
        lines = (line.split(" ", 1) for line in self.command("status").splitlines())
        return {words[0]: words[1] for words in lines if len(words) == 2}

    def guest(self, name, *options):
        self.command("define", name, *options)
        call(self.inside("virsh", "--quiet", "start", name))

    def wait(self, name, seconds=300):
        self.command("wait", name, seconds)

    def pid(self, name):
        return int(self.command("pid", name))

    def charge_file(self, name):
        folder = pathlib.Path(self.command("cgroup", name).strip())
        names = ("memory.usage_in_bytes", "memory.current")
        return next(folder / one for one in names if (folder / one).exists())


class Program:
    """A command in a guest, and when (time.monotonic() of the host) its words arrived here."""

    def __init__(self, lab, name, command, seconds=300):
        self.nonce = secrets.token_hex(8)
        # Through its folder: the path of a socket is limited to 108 bytes.
        folder = os.open(f"{lab.dir}/run/ullage", os.O_PATH)
        try:
            port = socket.socket(socket.AF_UNIX)
            port.connect(f"/proc/self/fd/{folder}/{name}.sock")
        finally:
            os.close(folder)
        self.exchange = serial_exec.Exchange(port, time.monotonic() + seconds)
        encoded = base64.b64encode(command.encode()).decode()
        self.exchange.begin(f"\nullage-run {self.nonce} {seconds} {encoded}\n".encode(),
                            f"\n{self.nonce} begin\n".encode())

    def says(self, words):
        """When `words` had arrived."""
        while words.encode() not in self.exchange.pending:
            self.exchange.receive(60)
        return time.monotonic()

    def ends(self):
        """When it was seen to have ended."""
        mark = f"\n{self.nonce} exit "
        while b"\n" not in self.exchange.pending.partition(mark.encode())[2]:
            self.exchange.receive(60)
        at = time.monotonic()
        self.exchange.port.close()
        output, _, rest = self.exchange.pending.decode(errors="replace").partition(mark)
        if rest.split("\n", 1)[0] != "0":
            raise BenchError(f"in the guest: {output} exit {rest}")
        return at


class Agent:
    """ullage-agent --standalone as an operator has it: every period is the default, 1 s the tick. `config`
    is YAML: its mode and policy."""

    def __init__(self, lab, config="mode: publish\n"):
        self.lab = lab
        self.config = config
        self.socket = f"{lab.dir}/run/ullage/agent.sock"
        self.process = None

    def __enter__(self):
        config = pathlib.Path(self.lab.dir, "agent.yaml")
        config.write_text(self.config + "socket: /run/libvirt/ullage/agent.sock\n"
                          f"state_dir: {self.lab.dir}/state/agent\nlisten: 127.0.0.1:0\n"
                          f"host: {{cgroup: {self.lab.status()['cgroup']}, reserve: 0}}\n", encoding="utf-8")
        with open(f"{self.lab.dir}/agent.log", "ab") as log:
            self.process = subprocess.Popen(
                self.lab.inside(BUILD / "bin/ullage-agent", "--standalone", "--config", config),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 20
        while subprocess.run(self.top("--once"), capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = pathlib.Path(self.lab.dir, "agent.log").read_text(encoding="utf-8")
                self.__exit__()
                raise BenchError("the agent does not come up: " + log)
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        end(self.process)

    def top(self, *more):
        return [str(BUILD / "bin/ullagectl"), "--socket", self.socket, "top", "-o", "json", *more]

    def hinting_on(self, names, patience=60):
        deadline = time.monotonic() + patience
        while True:
            snapshot = json.loads(call(self.top("--once")))
            on = {vm["name"] for vm in snapshot.get("vms", []) if vm.get("hinting") == "on"}
            if on >= set(names):
                return
            if time.monotonic() > deadline:
                raise BenchError(f"hinting is not proven on for {sorted(set(names) - on)}")
            time.sleep(0.5)


class Stream:
    """`ullagectl top -o json`, each line with the time at which it could be read."""

    def __init__(self, agent):
        self.agent = agent
        self.lines = collections.deque(maxlen=600)
        self.news = threading.Condition()

    def __enter__(self):
        self.process = subprocess.Popen(self.agent.top(), stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, start_new_session=True)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def __exit__(self, *_):
        end(self.process)
        self.reader.join()

    def _read(self):
        for line in self.process.stdout:
            at = time.monotonic()
            snapshot = json.loads(line)
            snapshot["vms"] = {vm["name"]: vm for vm in snapshot.get("vms", [])}
            with self.news:
                self.lines.append((at, snapshot))
                self.news.notify_all()

    def last(self, name, before):
        """What the last line before that moment said of this VM."""
        with self.news:
            return [one["vms"][name] for at, one in self.lines if at < before and name in one["vms"]][-1]

    def since(self, after, true_of, patience):
        """The first line after that moment whose snapshot is so, and when it came; None: not in time."""
        deadline = max(after, time.monotonic()) + patience
        with self.news:
            while True:
                for at, snapshot in self.lines:
                    if at >= after and true_of(snapshot):
                        return at, snapshot
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.news.wait(left)

    def wait(self, true_of, patience, what, after=None):
        """The same, from now on if nothing else is said; an error if none comes."""
        found = self.since(time.monotonic() if after is None else after, true_of, patience)
        if found is None:
            raise BenchError(what)
        return found

    def first(self, name, after, true_of, patience):
        """When the first line after that moment came whose VM is so; None: not in time."""
        found = self.since(after, lambda one: name in one["vms"] and true_of(one["vms"][name]), patience)
        return found[0] if found else None
