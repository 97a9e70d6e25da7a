# SPDX-License-Identifier: Apache-2.0
"""What a guest touched once and never again: how much of it the host gets, what the rest notices, and waking up."""
import statistics
import subprocess
import sys
import time

from lib import figures, svg
from lib.lab import BUILD, MIB, BenchError, call, end
from lib.vm import Image
from lib.zram import Zram

RUNS = 1
NEEDS_AGENT = False
GUESTS, GUEST_MIB, HOT_MIB, COLD_MIB = 3, 768, 64, 400
COLD_AFTER = 20  # s
LOOK = 40  # s of the hot loop before, and while memory is taken
BACK_BAR, LOOP_BAR = 0.6, 1.01
HOW = (f"{GUESTS} guests of {GUEST_MIB} MiB at once, each with a pass over {HOT_MIB} MiB every 100 ms and {COLD_MIB} MiB that it "
       f"touched once; cold after {COLD_AFTER} s; probe and pager on zram, whose own memory is counted; ")


class Tool:
    """Probe and pager on one guest (cold_tool)."""

    def __init__(self, vm):
        self.process = subprocess.Popen(
            [BUILD / "bin/cold_tool", str(vm.process.pid), vm.cgroup.path, str(GUEST_MIB), str(COLD_AFTER)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        return {name: value for name, value in zip(line[::2], line[1::2])}

    def close(self):
        end(self.process)


def loops(vm):
    """The ms of each pass over the hot set so far; and what waking took."""
    lines = vm.must("cat /tmp/hot").splitlines()
    return ([float(line) for line in lines if line[0].isdigit()],
            [float(line.split()[1]) for line in lines if line.startswith("woke")])


def until(true_now, what, patience=300):
    deadline = time.monotonic() + patience
    while not true_now():
        if time.monotonic() > deadline:
            raise BenchError(what)
        time.sleep(1)


def wake(vm, tool, fetch):
    """Seconds until all of the cold memory was touched again."""
    before = len(loops(vm)[1])
    if fetch:
        fetched = tool.say("look")["fetched"]
        began = time.monotonic()
        tool.say("fetch")
        until(lambda: tool.say("look")["fetched"] != fetched, "nothing is fetched")
        print(f"cold: fetched within {time.monotonic() - began:.1f} s", file=sys.stderr)
    vm.must("touch /tmp/wake")
    until(lambda: len(loops(vm)[1]) > before, "it does not wake")
    return loops(vm)[1][-1]


def take(vms, tools):
    """Until nothing more is taken."""
    last, quiet = None, time.monotonic()
    while time.monotonic() - quiet < 2 * COLD_AFTER + 10:
        taken = [int(tool.say(f"out {GUEST_MIB}")["taken"]) for tool in tools]
        if taken != last:
            last, quiet = taken, time.monotonic()
        time.sleep(2)
    return last


def once(image, zram):
    vms, tools = [], []
    try:
        for _ in range(GUESTS):
            vms.append(image.boot(GUEST_MIB, 1))
        for vm in vms:
            vm.must(f"/load hot {HOT_MIB} {COLD_MIB} /tmp/hot /tmp/wake >/tmp/load.log 2>&1 & echo begun")
        for vm in vms:
            until(lambda vm=vm: "touched" in vm.run("cat /tmp/hot", 60)[1], "the memory is not touched")
        time.sleep(LOOK)
        before, passes = sum(vm.charge() for vm in vms), [statistics.median(loops(vm)[0][-10 * (LOOK - 5):]) for vm in vms]
        begun = [len(loops(vm)[0]) for vm in vms]
        tools = [Tool(vm) for vm in vms]
        take(vms, tools)
        after = sum(vm.charge() for vm in vms) + zram.used()
        slower = [statistics.median(loops(vm)[0][first:]) / one for vm, one, first in zip(vms, passes, begun)]
        said = [tool.say("look") for tool in tools]
        print(f"cold: {before / MIB:.0f} -> {after / MIB:.0f} MiB, loop {slower}, {said}", file=sys.stderr)
        plain = wake(vms[0], tools[0], False)
        fetched = wake(vms[1], tools[1], True)
        return {"back": (before - after) / MIB, "slower": statistics.median(slower), "plain": plain,
                "fetched": fetched}
    finally:
        for tool in tools:
            tool.close()
        for vm in vms:
            vm.close()


def measure(runs):
    call(["ninja", "-C", BUILD, "cold_tool"])
    found = []
    with Image() as image, Zram(2 * GUESTS * GUEST_MIB) as zram:
        for _ in range(runs):
            found.append(once(image, zram))
    back = [one["back"] for one in found]
    figures.say("cold.given_back", "MiB", back, [GUESTS * COLD_MIB] * len(back), HOW + "through what is cold",
                least_ratio=BACK_BAR)
    figures.say("cold.loop", "of its time before", [one["slower"] for one in found], [1.0] * len(found),
                HOW + f"a pass over the hot set, the median while memory is taken through that of the {LOOK} s "
                "before; emulation and neighbours are noisy", most_ratio=LOOP_BAR)
    figures.say("cold.wake", "s", [one["fetched"] for one in found], [one["plain"] for one in found],
                HOW + f"to touch all {COLD_MIB} MiB again, fetched ahead, beside plain swap-in in another guest")
    return {"runs": found}


def draw(data, path):
    last = data["runs"][-1]
    drawing = svg.Drawing(560, 150, "Memory that guests touched once, taken by the host",
                          f"{GUESTS} guests with {HOT_MIB} MiB hot and {COLD_MIB} MiB cold each", figures.caption(data))
    words = (f"{last['back']:.0f} of {GUESTS * COLD_MIB} MiB given back; the hot loop takes {last['slower']:.3f} of its time; "
             f"waking {last['fetched']:.2g} s fetched, {last['plain']:.2g} s plain")
    drawing.text(20, 90, words, svg.OURS, size=13)
    drawing.save(path)
