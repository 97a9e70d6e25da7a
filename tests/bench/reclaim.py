# SPDX-License-Identifier: Apache-2.0
"""Bytes charged to a guest's QEMU after a program in it has ended, our module beside the stock driver."""
import random
import sys
import threading
import time

from lib import figures, svg
from lib.lab import MIB, Lab, Program

RUNS = 3
NEEDS_AGENT = False
GUEST_MIB = 5120
TOUCHED_MIB = 4096
HOLD = 2
PATIENCE = 60
SHOWN = (-1.0, 17.0)  # seconds of the plot
STEP = 0.05
RATE_BAR = 40  # times stock's MiB/s
TO_95_BAR = 1.0  # s
DRIVERS = {"ours": "ullage", "theirs": "stock"}
HOW = (f"hog {TOUCHED_MIB} in a {GUEST_MIB} MiB guest; the charge of its QEMU's memory cgroup, read every "
       "2 ms (the kernel keeps up to 256 KiB a CPU of it back); shares of what the program had added, time "
       "from the arrival of its exit status over the serial port")
WITNESS = ("what /proc/meminfo's MemFree of the host has risen by 1 s after the exit, as a share of what the "
           "program had added to the charge; whatever else runs on the host is in it")


def host_free():
    """Bytes. The whole of the host: a second witness beside the cgroup's charge."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemFree:")) * 1024


class Sampler:
    """The charge over time, until it is told to stop."""

    def __init__(self, path):
        self.path = path
        self.samples = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def charge(self):
        return int(self.path.read_text(encoding="ascii"))

    def _run(self):
        while not self.ended.wait(0.002):
            self.samples.append((time.monotonic(), self.charge()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def once(lab, name):
    """(t, bytes above idle) around the exit at t = 0, what was added, and MemFree's share of it."""
    time.sleep(random.uniform(2, 3))
    sampler = Sampler(lab.charge_file(name))
    idle = sampler.charge()
    program = Program(lab, name, f"hog {TOUCHED_MIB} --hold {HOLD}")
    program.says("hog: touched")
    with sampler:
        time.sleep(HOLD - 1)  # what happens before is of no interest
        added = sampler.charge() - idle
        free = host_free()  # still held by the program
        left = program.ends()
        deadline = left + PATIENCE
        time.sleep(max(0.0, left + 1 - time.monotonic()))
        freed = host_free() - free
        while sampler.charge() - idle > 0.03 * added and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(max(0.0, left + 2 - time.monotonic()))
    return [(at - left, charge - idle) for at, charge in sampler.samples], added, freed / added


def reached(curve, added, share):
    """When so much of what was added had been given back; None: never."""
    return next((at for at, charge in curve if charge <= (1 - share) * added), None)


def rate(curve, added):
    """MiB/s between a tenth and nine tenths."""
    begin, end = reached(curve, added, 0.1), reached(curve, added, 0.9)
    return 0.8 * added / MIB / max(end - begin, 0.01) if end is not None else None


def thinned(curve):
    """MiB at even steps: what the plot needs."""
    points, index = [], 0
    for step in range(round((SHOWN[1] - SHOWN[0]) / STEP) + 1):
        at = SHOWN[0] + step * STEP
        while index + 1 < len(curve) and curve[index + 1][0] <= at:
            index += 1
        points.append(round(curve[index][1] / MIB, 1))
    return points


def measure(runs):
    figures_of = {name: {"to_80": [], "to_95": [], "rate": [], "host_free": []} for name in DRIVERS}
    curves = {name: [] for name in DRIVERS}
    with Lab(3 * GUEST_MIB) as lab:
        for name, driver in DRIVERS.items():
            lab.guest(name, "--mem", GUEST_MIB, "--driver", driver, "--reporting", "on")
        for name in DRIVERS:
            lab.wait(name)
            once(lab, name)  # after this the idle guest's charge is the same before each run
        for _ in range(runs):
            for name in DRIVERS:
                curve, added, host = once(lab, name)
                here = figures_of[name]
                here["to_80"].append(reached(curve, added, 0.8))
                here["to_95"].append(reached(curve, added, 0.95))
                here["rate"].append(rate(curve, added))
                here["host_free"].append(host)
                curves[name].append(thinned(curve))
                print(f"reclaim: {name}: {added >> 20} MiB, 80 % after {here['to_80'][-1]} s, 95 % after "
                      f"{here['to_95'][-1]} s, {here['rate'][-1]} MiB/s; MemFree +{host:.0%} after 1 s", file=sys.stderr)
    ours, theirs = figures_of["ours"], figures_of["theirs"]
    figures.say("reclaim.rate", "MiB/s", ours["rate"], theirs["rate"], "10 to 90 % of it, " + HOW,
                least_ratio=RATE_BAR)
    figures.say("reclaim.to_95", "s", ours["to_95"], theirs["to_95"], "95 % of it, " + HOW, bar=TO_95_BAR)
    figures.say("reclaim.to_80", "s", ours["to_80"], theirs["to_80"], "80 % of it, " + HOW)
    figures.say("reclaim.host_free", "of what was added", ours["host_free"], theirs["host_free"], WITNESS)
    return {"figures": figures_of, "curves": curves}


def draw(data, path):
    drawing = svg.Drawing(760, 415, "What the host is charged after a program in the guest has ended",
                          "each run a thin line, the run with the median time to 80 % a thick one",
                          figures.caption(data))
    chart = svg.Chart(drawing, (70, 75, 660, 245), SHOWN, (0, TOUCHED_MIB * 1.08))
    chart.y_axis("MiB above the idle guest")
    chart.x_axis(f"seconds from the exit of a program with {TOUCHED_MIB} MiB in a {GUEST_MIB} MiB guest",
                 grid=False)
    for name, label, colour in (("theirs", "stock virtio_balloon", svg.THEIRS), ("ours", "ullage", svg.OURS)):
        times = data["figures"][name]["to_80"]
        order = sorted(range(len(times)), key=lambda run: float("inf") if times[run] is None else times[run])
        for run, curve in enumerate(data["curves"][name]):
            thick = run == order[len(order) // 2]
            points = [(SHOWN[0] + step * STEP, charge) for step, charge in enumerate(curve)]
            chart.line(points, colour, 3 if thick else 1, 1 if thick else 0.45)
        middle = figures.middle(times)
        words = label if middle is None else f"{label}: 80 % after {middle:.2g} s"
        # The upper right corner is where no curve comes.
        x, y = chart.at(SHOWN[1], TOUCHED_MIB * (0.93 if name == "ours" else 0.84))
        drawing.text(x - 10, y, words, colour, size=13, anchor="end", weight=600)
    drawing.save(path)
