# SPDX-License-Identifier: Apache-2.0
"""Inflating and deflating a balloon of 4 GiB in a guest of 5 GiB, our module beside the stock driver."""
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from lib import figures, svg
from lib.lab import MIB, ROOT, BenchError, call

RUNS = 3
NEEDS_AGENT = False
GUEST_MIB = 5120
BALLOON_MIB = 4096
PATIENCE = 60
RATIO_BAR = 10  # times stock's MiB/s
RISE_BAR = 4  # MiB: a thousandth; a single page that the guest happens to touch is 2 MiB for the host
SHOWN = (-0.5, 5.5)  # seconds of the plot
STEP = 0.02
DRIVERS = {"ours": "ullage_balloon", "theirs": "virtio_balloon"}
# The kernel's first pass of reports comes 2 s after loading, ours no sooner: the balloon is first.
ARGUMENTS = {"ours": "settle_ms=2000", "theirs": ""}
HOW = (f"{BALLOON_MIB} MiB in a {GUEST_MIB} MiB guest with deflate-on-oom=off; from the QMP command until "
       "query-balloon has the new size, asked every 2 ms")
COLD = "cold: the guest has never touched this memory; "
WARM = "warm: a program has touched it, without a driver that reports, and has ended; "
CHARGE = "the charge of QEMU's memory cgroup, read every 5 ms"
PEAK = CHARGE + ", and the cgroup's own high-water mark where it has one that can be reset (v1)"

# A guest without libvirt, whose QMP answers in less than a millisecond.
_SPEC = importlib.util.spec_from_file_location("guest", ROOT / "guest-module/tests/guest.py")
guest = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(guest)


class Charge:
    """The charge of a guest, (time, bytes), while the block runs."""

    def __init__(self, vm):
        self.vm, self.samples, self.ended = vm, [], threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.ended.is_set():
            self.samples.append((time.monotonic(), self.vm.charge()))
            self.ended.wait(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def resize(vm, mib):
    """Tells the balloon; (seconds until it is there or None, (t, bytes) of the charge around it, MiB that
    the charge rose by)."""
    peak = pathlib.Path(vm.cgroup.path, "memory.max_usage_in_bytes")  # cgroup v1 only
    with Charge(vm) as charge:
        time.sleep(-SHOWN[0])
        if peak.exists():
            peak.write_text("0", encoding="ascii")
        base = vm.charge()
        began = time.monotonic()
        vm.qmp("balloon", value=mib * MIB)
        took = None
        while took is None and time.monotonic() < began + PATIENCE:
            if vm.qmp("query-balloon")["actual"] == mib * MIB:
                took = time.monotonic() - began
            time.sleep(0.002)
        time.sleep(0.3)
    top = max(level for at, level in charge.samples if at >= began)
    if peak.exists():
        top = max(top, int(peak.read_text(encoding="ascii")))
    return took, [(at - began, level) for at, level in charge.samples], max(0.0, (top - base) / MIB)


def rate(took):
    return None if took is None else BALLOON_MIB / max(took, 0.001)


def gone(curve):
    """MiB/s by the charge: until 95 % of what the balloon takes from the host has gone."""
    base = next(level for at, level in reversed(curve) if at <= 0)
    at = next((at for at, level in curve if at > 0 and level <= base - 0.95 * BALLOON_MIB * MIB), None)
    return None if at is None else 0.95 * BALLOON_MIB / max(at, 0.001)


def thinned(curve):
    """MiB at even steps: what the plot needs."""
    points, index = [], 0
    for step in range(round((SHOWN[1] - SHOWN[0]) / STEP) + 1):
        at = SHOWN[0] + step * STEP
        while index + 1 < len(curve) and curve[index + 1][0] <= at:
            index += 1
        points.append(round(curve[index][1] / MIB, 1))
    return points


def once(boot, name):
    """One guest's life: cold up and down, warm up and down."""
    found, curves = {}, {}
    with boot() as vm:
        for state in ("cold", "warm"):
            if state == "warm":
                vm.must(f"rmmod {DRIVERS[name]}")
                vm.must(f"/hog {BALLOON_MIB}", timeout=300)
            vm.settle()
            vm.must(f"insmod /modules/{DRIVERS[name]}.ko {ARGUMENTS[name]}")
            took, curve, rise = resize(vm, GUEST_MIB - BALLOON_MIB)
            found[f"inflate_{state}"] = rate(took)
            found[f"rise_{state}"] = rise
            found[f"gone_{state}"] = gone(curve)
            curves[state] = thinned(curve)
            took, *_ = resize(vm, GUEST_MIB)
            found[f"deflate_{state}"] = rate(took)
    print(f"balloon: {name}: " + ", ".join(f"{key} {figures.rounded(value)}" for key, value in found.items()),
          file=sys.stderr)
    return found, curves


def measure(runs):
    tree = call([ROOT / "scripts/guest-kernel"]).splitlines()[-1]
    kernel = os.path.basename(tree)
    samples = {name: {} for name in DRIVERS}
    curves = {name: {"cold": [], "warm": []} for name in DRIVERS}
    with tempfile.TemporaryDirectory(prefix="ullage-bench.") as work:
        call(["make", "-s", "-C", ROOT / "guest-module", f"KVER={kernel}", f"OUT={work}/module"])
        initrd = guest.initramfs(tree, kernel, [f"{work}/module/ullage_balloon.ko"], work)

        def boot():
            try:
                return guest.Guest(tree, kernel, initrd, mib=GUEST_MIB, cpus=2)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                raise BenchError(f"cannot boot: {error}") from error

        for _ in range(runs):
            for name in DRIVERS:
                found, seen = once(boot, name)
                for key, value in found.items():
                    samples[name].setdefault(key, []).append(value)
                for state, curve in seen.items():
                    curves[name][state].append(curve)
    ours, theirs = samples["ours"], samples["theirs"]

    def say(key, unit, how, **bar):
        figures.say(f"balloon.{key}", unit, ours[key], theirs[key], how, **bar)
    for state, words in (("cold", COLD), ("warm", WARM)):
        say(f"inflate_{state}", "MiB/s", words + HOW, least_ratio=RATIO_BAR)
        say(f"rise_{state}", "MiB", f"{words}how far the host's charge climbs while the balloon grows; {PEAK}; "
            "the bar is a thousandth of the balloon, about two huge pages that the guest's kernel touches for itself",
            bar=RISE_BAR)
        say(f"deflate_{state}", "MiB/s", words + HOW)
    say("gone_warm", "MiB/s", WARM + f"until 95 % of it has left the host; {CHARGE}", least_ratio=RATIO_BAR)
    return {"samples": samples, "curves": curves}


def draw(data, path):
    drawing = svg.Drawing(760, 620, f"A balloon of {BALLOON_MIB >> 10} GiB in a guest of {GUEST_MIB >> 10} GiB",
                          "each run a thin line; the host's charge, time from the host's command",
                          figures.caption(data))
    for row, (state, title) in enumerate((("cold", "memory that the guest has never touched"),
                                          ("warm", "memory that a program has touched and freed"))):
        curves = {name: data["curves"][name][state] for name in DRIVERS}
        top = 1.12 * max(level for runs in curves.values() for run in runs for level in run)
        chart = svg.Chart(drawing, (70, 80 + row * 265, 660, 180), SHOWN, (0, top))
        chart.y_axis(f"MiB charged: {title}")
        chart.x_axis("seconds" if row else "", grid=False)
        for name, label, colour in (("theirs", "stock virtio_balloon", svg.THEIRS), ("ours", "ullage", svg.OURS)):
            for run in curves[name]:
                chart.line([(SHOWN[0] + step * STEP, level) for step, level in enumerate(run)], colour, 1.5, 0.7)
            middle = figures.middle(data["samples"][name][f"inflate_{state}"])
            words = label if middle is None else f"{label}: inflated after {BALLOON_MIB / middle:.2g} s"
            # Where no curve comes: below the flat ones, above the falling ones.
            height = {"cold": (0.6, 0.46), "warm": (0.86, 0.72)}[state][name == "theirs"]
            x, y = chart.at(SHOWN[1], top * height)
            drawing.text(x - 10, y, words, colour, size=13, anchor="end", weight=600)
    drawing.save(path)
