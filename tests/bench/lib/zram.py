# SPDX-License-Identifier: Apache-2.0
"""Compressed swap of a bench's own, and what of the host's memory it takes itself."""
import pathlib
import subprocess
import threading

from lib.lab import BenchError, call

CONTROL = pathlib.Path("/sys/class/zram-control")


class Zram:
    """A zram disk in use as swap. Linux's Documentation/admin-guide/blockdev/zram.rst."""

    def __init__(self, mib):
        self.mib = mib
        self.number = None

    def __enter__(self):
        if not CONTROL.exists():
            subprocess.run(["modprobe", "zram", "num_devices=0"], check=False)
        try:
            self.number = int((CONTROL / "hot_add").read_text(encoding="ascii"))
        except OSError as error:
            raise BenchError(f"no compressed swap on this machine: {error}") from error
        try:
            self._file("disksize").write_text(f"{self.mib}M", encoding="ascii")
            call(["mkswap", self.device])
            call(["swapon", "--priority", "100", self.device])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["swapoff", self.device], stderr=subprocess.DEVNULL, check=False)
        (CONTROL / "hot_remove").write_text(str(self.number), encoding="ascii")

    @property
    def device(self):
        return f"/dev/zram{self.number}"

    def _file(self, name):
        return pathlib.Path(f"/sys/block/zram{self.number}", name)

    def _figures(self):
        return [int(word) for word in self._file("mm_stat").read_text(encoding="ascii").split()]

    def held(self):
        """Bytes of pages that are in it."""
        return self._figures()[0]

    def used(self):
        """Bytes of the host that it takes to hold them (mem_used_total)."""
        return self._figures()[2]


class Discount:
    """Keeps the limit of a cgroup at `whole` less what the compressed swap takes: a host has only one memory."""

    def __init__(self, limit, whole, zram, every=0.25):
        self.limit, self.whole, self.zram, self.every = limit, whole, zram, every
        self.refused = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def apply(self):
        try:
            self.limit.write_text(str(self.whole - self.zram.used()), encoding="ascii")
        except OSError:
            self.refused += 1  # v1: more is charged, and not all of that could be reclaimed; tried again

    def _run(self):
        while not self._ended.wait(self.every):
            self.apply()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
