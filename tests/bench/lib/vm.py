# SPDX-License-Identifier: Apache-2.0
"""A guest in a QEMU of its own, without libvirt: for what wants QMP and the process's own figures."""
import importlib.util
import pathlib
import shutil
import tempfile

from lib import cost
from lib.lab import ROOT, BenchError, call

DISK = "/dev/vda"
# QEMU emulates `rep stos` slowly: a kernel that believes it slow as well zeroes pages twice as fast.
CMDLINE = "clearcpuid=rep_good"

_TESTS = ROOT / "guest-module/tests"
_SPEC = importlib.util.spec_from_file_location("guest", _TESTS / "guest.py")
guest = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(guest)


def _with_libraries(program):
    """(path in the guest, path here) of a program of this machine and of what it is linked with."""
    path = shutil.which(program)
    if path is None:
        raise BenchError(f"no {program} on this machine; scripts/setup installs it")
    libraries = [word for word in call(["ldd", path]).split() if word.startswith("/")]
    return [(program, path)] + [(library.lstrip("/"), library) for library in libraries]


def _archive(files, target):
    folders = {str(parent) for path, _ in files for parent in pathlib.PurePath(path).parents} - {"."}
    entries = [(folder, 0o040755, b"") for folder in sorted(folders)]
    entries += [(path, 0o100755, pathlib.Path(source).read_bytes()) for path, source in files]
    with open(target, "ab") as file:
        file.write(guest.cpio(entries))


class Image:
    """Kernel and initramfs with our module, the stock one, load and hackbench."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ullage-bench.")
        work = pathlib.Path(self.folder.name)
        self.tree = call([ROOT / "scripts/guest-kernel"]).splitlines()[-1]
        self.version = pathlib.Path(self.tree).name
        call(["make", "-s", "-C", ROOT / "guest-module", f"KVER={self.version}", f"OUT={work}/module"])
        call(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o",
              work / "load", ROOT / "tests/bench/guest/load.c"])
        self.initrd = guest.initramfs(self.tree, self.version, [work / "module/ullage_balloon.ko"], str(work))
        # The kernel unpacks one archive after the other.
        _archive([("load", work / "load"), *_with_libraries("hackbench")], self.initrd)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def boot(self, mib, cpus):
        """With a disk behind which nothing is: its latency is QEMU's own."""
        disk = ["-blockdev", "driver=null-co,node-name=disk,size=67108864", "-device", "virtio-blk-pci,drive=disk"]
        return guest.Guest(self.tree, self.version, self.initrd, mib=mib, cpus=cpus, append=CMDLINE, extra=disk)


def counters(vm):
    """What the module counts, by name."""
    lines = vm.must("cat /sys/module/ullage_balloon/summary").splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}


class Usage:
    """What QEMU has used since then, and what the module has done."""

    def __init__(self, vm):
        self.vm = vm
        self.before = self._now()

    def _now(self):
        pid, counted = self.vm.process.pid, counters(self.vm)
        reported = counted["reported_bytes"]
        # Whatever was charged again after it had been given back was faulted in: QEMU's own count of faults
        # also has those of the emulation's tables, which are many and small.
        return {"cpu": cost.cpu_seconds(pid),
                # The process's first thread runs the main loop and, in it, the discards.
                "loop": cost.thread_seconds(pid, pid),
                "faults": (self.vm.charge() + reported) / cost.HUGE_PAGE,
                "reported": reported,
                # A module that does not count its CPU time says the longer time that it waited for the host.
                "module": counted.get("pass_cpu_ns", counted["report_host_ns"]) / 1e9}

    def since(self):
        """CPU seconds of all of QEMU (cpu), of its main loop (loop) and of the module in the guest (module);
        huge pages that the host faulted in (faults) and bytes that it was shown (reported)."""
        now = self._now()
        return {name: value - self.before[name] for name, value in now.items()}
