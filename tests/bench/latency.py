# SPDX-License-Identifier: Apache-2.0
"""From a program's end in a guest to the snapshot that shows its memory as returned."""
import random
import sys
import time

from lib import figures, svg
from lib.lab import MIB, Agent, BenchError, Lab, Program, Stream

RUNS = 10
BAR = 3.0
GUEST_MIB = 768
TOUCHED_MIB = 500
HOLD = 4  # seconds: several ticks see the memory in use
SHARE = 0.8
PATIENCE = 60
DRIVERS = {"ours": "ullage", "theirs": "stock"}
HOW = (f"hog {TOUCHED_MIB} --hold {HOLD} in a {GUEST_MIB} MiB guest; from the arrival of its exit status over "
       "the serial port to the first line of `ullagectl top -o json` whose `returned` has grown by "
       f"{SHARE:.0%} of that; agent as shipped (mode publish, tick 1 s); the exit falls anywhere in a tick")
EARLIER = ("the same from the moment the program calls exit (the arrival of its words 'touched' plus its "
           "sleep): also counts the guest's own freeing and the serial port")


def once(lab, stream, name):
    # The exit falls anywhere between two ticks.
    time.sleep(random.uniform(2, 3))
    program = Program(lab, name, f"hog {TOUCHED_MIB} --hold {HOLD}")
    leaves = program.says("hog: touched") + HOLD
    left = program.ends()
    held = stream.last(name, leaves)
    if int(held["resident"]) < TOUCHED_MIB * MIB * 0.9:
        raise BenchError(f"the agent has not seen the memory in use: {held}")
    goal = int(held["returned"]) + SHARE * TOUCHED_MIB * MIB
    shown = stream.first(name, leaves, lambda vm: int(vm.get("returned", 0)) >= goal, PATIENCE)
    print(f"latency: {name}: {None if shown is None else round(shown - left, 2)} s", file=sys.stderr)
    return (shown - left, shown - leaves) if shown else (None, None)


def measure(runs):
    samples = {"ours": [], "theirs": []}
    with Lab(4096) as lab:
        for name, driver in DRIVERS.items():
            lab.guest(name, "--mem", GUEST_MIB, "--driver", driver, "--reporting", "on")
        for name in DRIVERS:
            lab.wait(name)
        with Agent(lab) as agent, Stream(agent) as stream:
            agent.hinting_on(DRIVERS)
            for _ in range(runs):
                for name in DRIVERS:
                    samples[name].append(once(lab, stream, name))
    seen = {name: [one for one, _ in pairs] for name, pairs in samples.items()}
    called = {name: [one for _, one in pairs] for name, pairs in samples.items()}
    figures.say("latency", "s", seen["ours"], seen["theirs"], HOW, bar=BAR)
    figures.say("latency.from_exit_call", "s", called["ours"], called["theirs"], EARLIER, bar=BAR)
    return {"seen": seen}


def draw(data, path):
    seen = data["seen"]
    most = max(one for samples in seen.values() for one in samples if one is not None)
    drawing = svg.Drawing(760, 265, "Freed in the guest, seen on the host",
                          f"each dot a run, the line their median; {TOUCHED_MIB} MiB freed in a "
                          f"{GUEST_MIB} MiB guest; stock is the kernel's virtio_balloon",
                          figures.caption(data))
    chart = svg.Chart(drawing, (130, 70, 600, 100), (0, max(most, BAR) * 1.08), (0, 2))
    chart.x_axis("seconds from the program's exit to the agent's snapshot (80 % of it returned)")
    chart.upright(BAR, svg.BAR, f"goal: {BAR:g} s")
    for row, name, label, colour in ((1.5, "ours", "ullage", svg.OURS), (0.5, "theirs", "stock", svg.THEIRS)):
        drawing.text(120, chart.at(0, row)[1] + 4, label, colour, size=13, anchor="end", weight=600)
        for one in seen[name]:
            if one is not None:
                chart.dot(max(one, 0), row, colour)
        middle = figures.middle(seen[name])
        if middle is not None:
            chart.line([(middle, row - 0.35), (middle, row + 0.35)], colour, 3)
            x, y = chart.at(middle, row)
            drawing.text(x + 7, y - 14, f"{middle:.1f} s", colour, weight=600)
    drawing.save(path)
