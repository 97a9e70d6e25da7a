# SPDX-License-Identifier: GPL-2.0
"""One QEMU guest in its own memory cgroup: boot it, run commands in it, ask QMP, read the charge."""

import glob
import itertools
import json
import lzma
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
MODULE_DIR = os.path.dirname(HERE)
FAKE_DIR = os.path.join(HERE, "fake-device")
NUMBER = itertools.count()
BUS_MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"]


def cache_dir():
    return os.environ.get("ULLAGE_CACHE") or os.path.expanduser("~/.cache/ullage")


def kernel_tree(version):
    """The unpacked kernel; scripts/guest-kernel downloads it once and prints where it lies."""
    script = os.path.join(os.path.dirname(MODULE_DIR), "scripts", "guest-kernel")
    env = dict(os.environ, ULLAGE_CACHE=cache_dir())
    return subprocess.run([script, version], env=env, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip().splitlines()[-1]


def cpio(entries):
    """An initramfs (cpio newc) of (path, mode, data)."""
    out = bytearray()
    for number, (path, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def framed(command):
    """As init wants it. The emulated port of a busy guest now and then loses the first bytes of a
    line, as a rule a trigger level of its FIFO (8), which are spaces here."""
    assert "\n" not in command and command.isascii()
    return f"{'':32}#{len(command)}:{command}"


def initramfs(tree, version, modules, work):
    """busybox, the modules of the bus and of disks, our programs, and the balloon drivers to try."""
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    drivers = os.path.join(tree, "lib/modules", version, "kernel/drivers")
    entries = [(d, 0o040755, b"") for d in ("bin", "modules")]
    entries += [("init", 0o100755, read(os.path.join(HERE, "init"))),
                ("bin/busybox", 0o100755, read(shutil.which("busybox")))]
    for source in sorted(glob.glob(os.path.join(HERE, "*.c"))):
        name = os.path.splitext(os.path.basename(source))[0]
        program = os.path.join(work, name)
        subprocess.run(["gcc", "-static", "-O2", "-Wall", "-o", program, source], check=True)
        entries.append((name, 0o100755, read(program)))
    for name in BUS_MODULES + ["virtio_balloon", "virtio_blk"]:
        path = os.path.join(drivers, "block" if name == "virtio_blk" else "virtio", name + ".ko")
        if os.path.exists(path):
            entries.append((f"modules/{name}.ko", 0o100644, read(path)))
        elif os.path.exists(path + ".xz"):
            entries.append((f"modules/{name}.ko", 0o100644, lzma.decompress(read(path + ".xz"))))
    for path in modules:
        entries.append(("modules/" + os.path.basename(path), 0o100644, read(path)))
    target = os.path.join(work, "initramfs")
    with open(target, "wb") as file:
        file.write(cpio(entries))
    return target


def build_module(version, out, folder=MODULE_DIR, lint=True):
    """The module that the Makefile in @folder makes, and with @lint its warnings and sparse's."""
    done = subprocess.run(["make", "-s", "-C", folder, f"KVER={version}", f"OUT={out}"] +
                          (["W=1"] if lint else []) + (["C=2"] if lint and shutil.which("sparse") else []),
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    modules = [os.path.join(out, name) for name in os.listdir(out) if name.endswith(".ko")]
    if done.returncode or not modules:
        raise RuntimeError("the module does not build:\n" + done.stdout)
    return modules[0], [l for l in done.stdout.splitlines() if "warning" in l or "error" in l]


class Cgroup:
    """A memory cgroup of our own, v1 or v2, removed at the end."""

    def __init__(self):
        name = f"ullage-boot-test-{os.getpid()}-{next(NUMBER)}"
        if os.path.exists("/sys/fs/cgroup/memory/memory.usage_in_bytes"):
            self.path = os.path.join("/sys/fs/cgroup/memory", name)
            self.file = "memory.usage_in_bytes"
        elif os.path.exists("/sys/fs/cgroup/cgroup.subtree_control"):
            with open("/sys/fs/cgroup/cgroup.subtree_control", "r+", encoding="ascii") as file:
                if "memory" not in file.read().split():
                    file.write("+memory")
            self.path = os.path.join("/sys/fs/cgroup", name)
            self.file = "memory.current"
        else:
            raise RuntimeError("no memory cgroup controller at /sys/fs/cgroup")
        os.mkdir(self.path)
        self.fd = os.open(os.path.join(self.path, self.file), os.O_RDONLY)

    def add_self(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(os.getpid()))

    def charge(self):
        return int(os.pread(self.fd, 32, 0))

    def remove(self):
        os.close(self.fd)
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


class Lines:
    """Lines from a unix socket, with a deadline on each."""

    def __init__(self, path, deadline):
        while True:
            try:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.buffer = b""

    def send(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def read(self, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no line within {timeout} s")
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("QEMU is gone")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")


class Unavailable(Exception):
    """This machine cannot give a guest what it asks for."""


class HugePages:
    """Pages of 2 MiB, @mib of them beyond those in use, given back by release()."""

    FILE = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

    def __init__(self, mib):
        self.taken = 0
        if not os.path.exists(self.FILE):
            raise Unavailable("this machine's kernel has no pages of 2 MiB")
        before = self._number()
        self._set(before + mib // 2)
        self.taken = self._number() - before
        if self.taken < mib // 2:
            taken = self.taken
            self.release()
            raise Unavailable(f"this machine spares {taken} of {mib // 2} pages of 2 MiB")

    def _number(self):
        with open(self.FILE, encoding="ascii") as file:
            return int(file.read())

    def _set(self, number):
        with open(self.FILE, "w", encoding="ascii") as file:
            file.write(str(number))

    def release(self):
        self._set(max(0, self._number() - self.taken))
        self.taken = 0


class Guest:
    """A running guest. Use as a context manager: it ends QEMU by its pid and cleans up.

    @device: the balloon's options; None: no balloon."""

    def __init__(self, tree, version, initrd, mib=768, cpus=2, device="free-page-reporting=on",
                 hint=False, append="", extra=(), setup=None, disk_mib=0, huge=False):
        self.huge = HugePages(mib) if huge else None
        self.ram = None
        self.work = tempfile.mkdtemp(prefix="ullage-guest-")
        self.mib = mib
        self.log = os.path.join(self.work, "console")
        self.cgroup = Cgroup()
        self.process = None
        shell, qmp = os.path.join(self.work, "shell"), os.path.join(self.work, "qmp")
        arguments = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=32",
            "-cpu", "max,-erms,-fsrm", "-m", str(mib), "-smp", str(cpus),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", os.path.join(tree, "boot", "vmlinuz-" + version), "-initrd", initrd,
            "-append", "console=ttyS0 loglevel=7 panic=-1 oops=panic no_console_suspend "
            # On a busy host the emulated timer can be too late for the kernel's check of it.
            "no_timer_check " + append,
            "-chardev", f"file,id=console,path={self.log}", "-serial", "chardev:console",
            "-chardev", f"socket,id=shell,path={shell},server=on,wait=off", "-serial", "chardev:shell",
            "-qmp", f"unix:{qmp},server=on,wait=off", *extra]

        def begin():
            self.cgroup.add_self()
            if setup:
                setup()
        if huge:
            arguments += ["-machine", "pc,memory-backend=ram", "-object",
                          f"memory-backend-memfd,id=ram,size={mib}M,hugetlb=on,hugetlbsize=2M"]
        if hint:
            arguments += ["-object", "iothread,id=io0"]
            device += ",free-page-hint=on,iothread=io0"
        if disk_mib:
            disk = os.path.join(self.work, "disk")
            with open(disk, "wb") as file:
                file.truncate(disk_mib << 20)
            arguments += ["-drive", f"if=virtio,format=raw,cache=unsafe,file={disk}"]
        if device:
            arguments += ["-device", "virtio-balloon-pci,id=balloon0," + device]
        try:
            with open(os.path.join(self.work, "qemu.err"), "wb") as err:
                # pylint: disable=subprocess-popen-preexec-fn
                self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=err,
                                                stderr=err, preexec_fn=begin)
            deadline = time.monotonic() + 20
            self.shell = Lines(shell, deadline)
            self.qmp_lines = Lines(qmp, deadline)
            self.qmp_lines.read(20)
            self.qmp("qmp_capabilities")
            self._answer(180)
            if huge:
                self.ram = self._memfd()
        except BaseException:
            if os.path.exists(self.log):
                print("\n".join(self.console().splitlines()[-15:]), file=sys.stderr)
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.huge:
            self.huge.release()
        self.cgroup.remove()
        shutil.rmtree(self.work, ignore_errors=True)

    def _answer(self, timeout):
        """Output and exit status of the command under way."""
        lines = []
        deadline = time.monotonic() + timeout
        while True:
            line = self.shell.read(max(0.01, deadline - time.monotonic()))
            if line.startswith("@@ "):
                return "\n".join(lines), line[3:]
            lines.append(line)

    def run(self, command, timeout=60):
        """(status, output) of a shell command line in the guest."""
        for _ in range(5):
            self.shell.send(framed(command))
            output, status = self._answer(timeout)
            if status != "lost":
                return int(status), output
        raise RuntimeError(f"the guest's serial port loses every line: {command}")

    def find_again(self):
        """The shell answers in step again after its serial port may have dropped something."""
        for attempt in range(10):
            self.shell.send(framed(f"echo awake-{attempt}"))
            try:
                while self.shell.read(3) != f"awake-{attempt}":
                    pass
                self._answer(3)
                return
            except TimeoutError:
                pass
        raise TimeoutError("the guest's shell does not answer")

    def must(self, command, timeout=60):
        status, output = self.run(command, timeout)
        if status:
            raise RuntimeError(f"in the guest, status {status}: {command}\n{output}")
        return output

    def qmp(self, command, **arguments):
        self.qmp_lines.send(json.dumps({"execute": command, "arguments": arguments}))
        while True:
            message = json.loads(self.qmp_lines.read(30))
            if "error" in message:
                raise RuntimeError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def console(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _memfd(self):
        """The guest's memory as a file; it holds as many blocks as it has pages."""
        directory = f"/proc/{self.process.pid}/fd"
        for fd in os.listdir(directory):
            path = os.path.join(directory, fd)
            if os.readlink(path).startswith("/memfd:") and os.stat(path).st_size == self.mib << 20:
                return path
        raise RuntimeError("QEMU has no memfd for the guest's memory")

    def charge(self):
        """What the guest's memory takes; huge pages are in no memory cgroup's charge."""
        if self.ram:
            return os.stat(self.ram).st_blocks * 512
        return self.cgroup.charge()

    def settle(self, quiet=1.0, timeout=40):
        """Wait until the charge stays within 1 MiB for @quiet seconds; returns it."""
        deadline = time.monotonic() + timeout
        low = high = self.charge()
        since = time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(0.05)
            now = self.charge()
            low, high = min(low, now), max(high, now)
            if high - low > 1 << 20:
                low = high = now
                since = time.monotonic()
            if time.monotonic() - since > quiet:
                break
        return self.charge()


class Sampler(threading.Thread):
    """(time, charge) every 10 ms until stopped."""

    def __init__(self, guest):
        super().__init__(daemon=True)
        self.guest, self.samples, self.done = guest, [], threading.Event()
        self.start()

    def run(self):
        while not self.done.is_set():
            self.samples.append((time.monotonic(), self.guest.charge()))
            self.done.wait(0.01)

    def stop(self):
        self.done.set()
        self.join()
        return self.samples


def time_return(guest, command, wait=40.0, shares=(0.8, 0.95)):
    """Run @command, which touches and frees memory; seconds from its end until each share of what
    it added to the charge is gone again (None: not within @wait), and the MiB that it added."""
    base = guest.settle()
    sampler = Sampler(guest)
    try:
        guest.must(command, timeout=120)
        end = time.monotonic()
        added = max(c for _, c in sampler.samples) - base
        goal = base + (1 - max(shares)) * added
        while time.monotonic() < end + wait and guest.charge() > goal:
            time.sleep(0.02)
        time.sleep(0.05)
    finally:
        samples = sampler.stop()
    times = {}
    for share in shares:
        goal = base + (1 - share) * added
        below = [t - end for t, c in samples if t >= end and c <= goal]
        times[share] = round(max(0.0, below[0]), 3) if below else None
    return times, round(added / (1 << 20))
