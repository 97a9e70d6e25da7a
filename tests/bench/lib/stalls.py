# SPDX-License-Identifier: Apache-2.0
"""How long QEMU's main loop lets others wait while a guest's freed memory is drained."""
import json
import math
import threading
import time

from lib import stats
from lib.lab import MIB, BenchError
from lib.vm import DISK, guest

PERIOD = 0.001
SAMPLES = "/tmp/samples"


class Pinger(threading.Thread):
    """A `query-name` each ms, and the charge beside it, until it is told to stop."""

    def __init__(self, vm):
        super().__init__()
        self.vm = vm
        self.pings = []  # (when it was asked, seconds to the answer)
        self.charges = []
        self.ended = threading.Event()

    def run(self):
        line = json.dumps({"execute": "query-name"})
        due = time.monotonic()
        while not self.ended.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            begun = time.monotonic()
            self.vm.qmp_lines.send(line)
            while "return" not in self.vm.qmp_lines.read(60):
                pass
            now = time.monotonic()
            self.pings.append((begun, now - begun))
            self.charges.append((now, self.vm.charge()))
            due += max(1, math.ceil((now - due) / PERIOD)) * PERIOD

    def stop(self):
        self.ended.set()
        self.join()


def _says(vm, words):
    line = vm.shell.read(120)
    if line != words:
        raise BenchError(f"the guest says '{line}' instead of '{words}'")


def drain(vm, mib, seconds):
    """Frees so much at once. {took: seconds to 95 % of it (None: not seen), mib, idle, pings, writes}: the
    latencies of pings and writes from the freeing until then, and those of the pings in the second before."""
    base = vm.settle()
    vm.shell.send(guest.framed(f"/load drain {mib} {seconds} {DISK} {SAMPLES}"))
    _says(vm, "touched")
    added = vm.charge() - base
    pinger = Pinger(vm)
    pinger.start()
    try:
        time.sleep(1)
        vm.shell.send("")
        _says(vm, "freed")
        began = time.monotonic()
        _says(vm, "@@ 0")
    finally:
        pinger.stop()
    end = next((at for at, charge in pinger.charges if at > began and charge <= base + 0.05 * added), None)
    took = (pinger.charges[-1][0] if end is None else end) - began
    words = iter(vm.must(f"cat {SAMPLES}", 120).split())
    writes = [(int(at) / 1e6, int(length) / 1e6) for at, length in zip(words, words)]
    return {"took": None if end is None else took, "mib": round(added / MIB),
            "idle": stats.without_omission(pinger.pings, PERIOD, 0, began - 0.1),
            "pings": stats.without_omission(pinger.pings, PERIOD, began, began + took),
            "writes": stats.without_omission(writes, PERIOD, 0, took)}
