# SPDX-License-Identifier: Apache-2.0
"""What reporting costs a guest that works: loads with it on and off, and who waits for QEMU meanwhile."""
import statistics
import sys
import time

from lib import cost, figures, stalls, stats, svg
from lib.lab import BenchError
from lib.vm import Image, Usage, counters

RUNS = 4  # pairs, on and off
NEEDS_AGENT = False
CPUS = (2, 4)
GUEST_MIB, SPARE_MIB = 1536, 1280  # and what of it programs can have
LOADS = {"hackbench": {2: "/hackbench -g 4 -l {}", 4: "/hackbench -g 4 -l {}"},
         "faults": {2: "/load faults 128 {} 2", 4: "/load faults 64 {} 4"}}
LENGTHS = {"hackbench": (15, 60), "faults": (2, 6)}  # unmeasured, measured
SPEND_SECONDS = 30  # at most
REST = 13  # seconds after which nothing that waits for calm waits on
AFTER = 1.0  # what is freed at a load's end is reported after it
SAW_MIB, SAW_MS = 1024, (500, 1000, 2000, 4000)
# What lay idle before a turn was the host's, as it should be, and comes back with its first teeth, once. So do
# the pages that are left over: the first teeth swap them for others that were not reported.
SAW_WARM = (500,) * 6
DRAIN_GUEST_MIB, DRAIN_MIB = 5120, 3072
DRAINS = {"ours": (5, 1), "theirs": (1, 16)}  # how many; seconds that each may take
MODULES = {"ours": "ullage_balloon", "theirs": "virtio_balloon"}
COST_BAR, SAW_BAR, STALL_BAR = 0.01, 1.05, 2.0

LOAD_HOW = ("`{command}` in turns in two guests of {mib} MiB with {cpus} vCPUs, both with our module, reporting on "
            "in one and off in the other; the one has churned for up to {spend:g} s to spend what its budget saves up, "
            "the other has all of its memory from the host")
COST_HOW = ("the module's own CPU time, the bytes reported at {discard:.0f} us a GiB of QEMU's main loop (seen on "
            "a quiet guest in this run), huge pages that the host faulted in (bytes given back + what the charge "
            "rose by), on minus off, at {fault:.0f} us each (seen in this run), through QEMU's CPU with reporting off, to {after:g} s after its end; ours is "
            "reporting on; ")
WALL_HOW = "seconds; pair by pair {interval}; emulation is noisy; "
SAW_HOW = ("seconds to allocate, touch and free {mib} MiB (a byte in each huge page: in small pages emulation "
           "needs more than the shortest period), {which}, in "
           "turns in two guests of {guest} MiB with {cpus} vCPUs; ours is reporting on, after a "
           "churn to spend its budget's savings, theirs off; pair by pair {interval}")
STALL_HOW = ("{share} of {ours} and {theirs} samples, one a ms, from the freeing of {mib} MiB to 95 % of it out "
             "of the host's charge; a guest of {guest} MiB with {cpus} vCPUs; {what}")


def spend(vm):
    """Churns until the guest's budget has nothing left of what it saves up, and comes to rest."""
    usage, began = Usage(vm), time.monotonic()
    while counters(vm).get("budget_left_us", 0) > 0 and time.monotonic() < began + SPEND_SECONDS:
        vm.must(f"/load saw {SAW_MIB} 500 500 500", 120)
    spent = {**usage.since(), "seconds": time.monotonic() - began,
             "left_us": counters(vm).get("budget_left_us", 0)}
    vm.settle(REST)
    return spent


def discard_seconds(vm, times=3):
    """CPU time of QEMU's main loop for each byte that the guest reports, beyond what it needs anyway."""
    found = []
    for _ in range(times):
        idle = Usage(vm)
        time.sleep(AFTER)
        idle, usage = idle.since(), Usage(vm)
        vm.must(f"/load saw {SPARE_MIB} 0", 120)
        time.sleep(AFTER)
        seen = usage.since()
        if seen["reported"]:
            found.append(max(0.0, seen["loop"] - idle["loop"]) / seen["reported"])
    if not found:
        raise BenchError("the module reports nothing after a program's end")
    return statistics.median(found)


def run(vm, command):
    """The seconds that it says (wall), and what was used to a while after its end."""
    usage = Usage(vm)
    words = vm.must(command, 300).split()
    time.sleep(AFTER)
    return {"wall": float(words[-1]), **usage.since()}


def loads(guests, cpus, runs):
    """{load: {"on": [run...], "off": [run...]}}"""
    found = {}
    for name, commands in LOADS.items():
        warm, whole = (commands[cpus].format(length) for length in LENGTHS[name])
        pairs = found[name] = {"on": [], "off": []}
        for vm in guests.values():
            vm.must(warm, 300)
        for _ in range(runs):
            for mode, vm in guests.items():
                pairs[mode].append(run(vm, whole))
                print(f"overhead: {cpus} vCPUs, {name}, {mode}: {pairs[mode][-1]}", file=sys.stderr)
    return found


def saw(guests, runs):
    """{"on": [[seconds of each tooth, the unmeasured ones as well]...], "off": ...}"""
    found = {"on": [], "off": []}
    turn = f"/load saw {SAW_MIB} {' '.join(str(ms) for ms in SAW_WARM + SAW_MS)}"
    for vm in guests.values():
        # A guest's habit is learned once.
        vm.must(turn, 120)
    for _ in range(runs):
        for mode, vm in guests.items():
            words = vm.must(turn, 120).split()
            found[mode].append([float(word) for word in words])
            print(f"overhead: saw, {mode}: {found[mode][-1]}", file=sys.stderr)
    return found


def summary(lengths):
    """What is kept of many samples; all of them are too many for a repository."""
    return {"n": len(lengths), **{str(share): figures.rounded(stats.percentile(lengths, share))
                                  for share in (0.5, 0.9, 0.95, 0.99, 1)}}


def drains(vm):
    """{driver: when its drains were done, and what stalls.drain found, of all drains together}"""
    found = {}
    for driver, (times, seconds) in DRAINS.items():
        # A module loaded afresh has its own defaults.
        vm.must(f"for m in {' '.join(MODULES.values())}; do grep -q ^$m /proc/modules && rmmod $m; done; "
                f"insmod /modules/{MODULES[driver]}.ko")
        ones = []
        for _ in range(times):
            if driver == "ours":
                # The same value again: drain upon drain is a churn, and its budget would slow it down.
                vm.must("cd /sys/module/ullage_balloon/parameters && cat settle_ms >/tmp/settle && "
                        "cat /tmp/settle >settle_ms; cd /")
            ones.append(stalls.drain(vm, DRAIN_MIB, seconds))
        found[driver] = {"took": [one["took"] for one in ones],
                         **{key: summary([length for one in ones for length in one[key]])
                            for key in ("idle", "pings", "writes")}}
        print(f"overhead: drain, {driver}: 95 % after {found[driver]['took']} s", file=sys.stderr)
    return found


def shares(pairs, prices):
    """Of each pair: what reporting cost, through all CPU that the load needs without it; and its parts."""
    found = []
    for on, off in zip(pairs["on"], pairs["off"], strict=True):
        parts = {"module": on["module"], "discards": on["reported"] * prices["discard"],
                 "faults": (on["faults"] - off["faults"]) * prices["fault"]}
        found.append({key: value / off["cpu"] for key, value in parts.items()})
        found[-1]["all"] = sum(found[-1].values())
    return found


def paired(on, off):
    """The ratio, and its interval in words."""
    ratio, low, high = stats.paired_ratio(on, off)
    words = "one pair has no interval" if low is None else f"{low:.3f} to {high:.3f} times as many (95 %)"
    return ratio, words


def say_loads(cpus, data, prices):
    for name, pairs in data.items():
        how = LOAD_HOW.format(command=LOADS[name][cpus].format(LENGTHS[name][1]).lstrip("/"), mib=GUEST_MIB,
                              cpus=cpus, spend=SPEND_SECONDS)
        parts = shares(pairs, prices)
        detail = ", ".join(f"{key} {statistics.median(one[key] for one in parts):+.2%}"
                           for key in ("module", "discards", "faults"))
        cost_how = COST_HOW.format(discard=prices["discard"] * 2**30 * 1e6, fault=prices["fault"] * 1e6,
                                   after=AFTER)
        figures.say(f"overhead.{name}_cost_{cpus}", "of the run's CPU", [one["all"] for one in parts], [],
                    f"{detail}: {cost_how}{how}", bar=COST_BAR)
        on, off = ([one["wall"] for one in pairs[mode]] for mode in ("on", "off"))
        ratio, interval = paired(on, off)
        figures.say(f"overhead.{name}_wall_{cpus}", "s", on, off, WALL_HOW.format(interval=interval) + how,
                    ratio=ratio)


def say_spent(cpus, spent, prices):
    how = ("huge pages faulted in before the budget had nothing left of its savings (null: it still had some), "
           f"at {prices['fault'] * 1e6:.0f} us each: {spent['faults']:.0f} in {spent['seconds']:.0f} s of a sawtooth of "
           f"{SAW_MIB} MiB every 0.5 s, a guest of {GUEST_MIB} MiB with {cpus} vCPUs")
    figures.say(f"overhead.saved_{cpus}", "s", [None if spent["left_us"] else spent["faults"] * prices["fault"]],
                [], how)


def measured_teeth(teeth):
    """On and off: the seconds of a turn's measured teeth together."""
    return ([sum(one[len(SAW_WARM):]) for one in teeth[mode]] for mode in ("on", "off"))


def say_saw(cpus, teeth):
    first = ([one[0] for one in teeth[mode]] for mode in ("on", "off"))
    periods = ", ".join(f"{ms / 1000:g}" for ms in SAW_MS)
    for name, (on, off), which, bar in (
            ("saw", measured_teeth(teeth), f"summed over one tooth each of {periods} s after {len(SAW_WARM)} of "
             f"{SAW_WARM[0] / 1000:g} s", SAW_BAR),
            ("saw_first", first, "the first after the other guest's turn", None)):
        ratio, interval = paired(on, off)
        how = SAW_HOW.format(mib=SAW_MIB, which=which, guest=GUEST_MIB, cpus=cpus, interval=interval)
        figures.say(f"overhead.{name}_{cpus}", "s", on, off, how, ratio=ratio, most_ratio=bar)


def say_drains(cpus, found):
    for key, what in (("pings", "`query-name` over QMP"), ("writes", "4 KiB O_DIRECT O_SYNC to a null-co disk")):
        here, there = found["ours"][key], found["theirs"][key]
        for share, bar in ((0.99, STALL_BAR), (0.5, None)):
            how = STALL_HOW.format(share=f"{share:.0%}", ours=here["n"], theirs=there["n"], mib=DRAIN_MIB,
                                   guest=DRAIN_GUEST_MIB, cpus=cpus, what=what)
            figures.say(f"overhead.{key}_p{share * 100:.0f}_{cpus}", "s", [here[str(share)]], [there[str(share)]], how, most_ratio=bar)


def measured(image, cpus, runs):
    with image.boot(GUEST_MIB, cpus) as on, image.boot(GUEST_MIB, cpus) as off:
        on.must(f"insmod /modules/{MODULES['ours']}.ko")
        off.must(f"insmod /modules/{MODULES['ours']}.ko reporting=0; /load saw {SPARE_MIB} 0")
        guests = {"on": on, "off": off}
        found = {"discard": discard_seconds(on), "spent": spend(on), "loads": loads(guests, cpus, runs),
                 "saw": saw(guests, runs)}
        print(f"overhead: {cpus} vCPUs: {found['discard'] * 2**30} s a GiB, {found['spent']}", file=sys.stderr)
    with image.boot(DRAIN_GUEST_MIB, cpus) as vm:
        return {**found, "drains": drains(vm)}


def measure(runs):
    fault, found = [cost.huge_fault_seconds()], {}
    with Image() as image:
        for cpus in CPUS:
            found[str(cpus)] = measured(image, cpus, runs)
            fault.append(cost.huge_fault_seconds())
    prices = {"fault": statistics.median(fault),
              "discard": statistics.median(one["discard"] for one in found.values())}
    for cpus in CPUS:
        here = found[str(cpus)]
        say_loads(cpus, here["loads"], prices)
        say_spent(cpus, here["spent"], prices)
        say_saw(cpus, here["saw"])
        say_drains(cpus, here["drains"])
    return {"prices": prices, "cpus": found}


def rows(drawing, box, span, words, title):
    """A chart with a named row for each word, the first on top; the middle of row n is at y = -n."""
    chart = svg.Chart(drawing, box, span, (0.5 - len(words), 0.5))
    for row, word in enumerate(words):
        drawing.text(box[0] - 8, chart.at(span[0], -row)[1] + 4, word, anchor="end")
    chart.x_axis(title)
    return chart


def draw_costs(drawing, box, data):
    found = {f"{name}, {cpus} vCPUs": [100 * one["all"] for one in shares(pairs, data["prices"])]
             for cpus, here in data["cpus"].items() for name, pairs in here["loads"].items()}
    every = [one for costs in found.values() for one in costs]
    chart = rows(drawing, box, (min(0, *every), max(1.5, *every)), found,
                 "CPU spent on reporting, % of the load's own; each dot a pair of runs")
    for row, costs in enumerate(found.values()):
        for one in costs:
            chart.dot(one, -row, svg.OURS)
    chart.upright(100 * COST_BAR, svg.BAR, "at most 1 %")


def draw_ratios(drawing, box, data):
    found = {}
    for cpus, here in data["cpus"].items():
        for name, pairs in here["loads"].items():
            found[f"{name}, {cpus} vCPUs"] = [[one["wall"] for one in pairs[mode]] for mode in ("on", "off")]
        found[f"sawtooth, {cpus} vCPUs"] = list(measured_teeth(here["saw"]))
    ratios = [stats.paired_ratio(on, off) for on, off in found.values()]
    every = [one for ratio in ratios for one in ratio if one is not None]
    chart = rows(drawing, box, (min(0.9, *every), max(1.1, *every)), found,
                 "time with reporting on / off, mean of the pairs and its 95 % interval")
    for row, (ratio, low, high) in enumerate(ratios):
        chart.dot(ratio, -row, svg.OURS)
        if low is not None:
            chart.line([(low, -row), (high, -row)], svg.OURS)
    chart.upright(1.0, svg.INK, "1")


def draw_stalls(drawing, box, data):
    found = {f"{words}, {cpus} vCPUs": [1000 * here["drains"][driver][key]["0.99"]
                                        for driver in ("ours", "theirs")]
             for cpus, here in data["cpus"].items()
             for key, words in (("pings", "QMP ping"), ("writes", "disk write"))}
    chart = rows(drawing, box, (0, max(one for pair in found.values() for one in pair)), found,
                 f"ms, 99 % of them while {DRAIN_MIB} MiB are drained: ullage above, stock virtio_balloon below")
    for row, (ours, theirs) in enumerate(found.values()):
        chart.bar(ours, 0.17 - row, 9, svg.OURS)
        chart.bar(theirs, -0.17 - row, 9, svg.THEIRS)


def draw(data, path):
    drawing = svg.Drawing(760, 720, "What reporting costs a guest that works, and who waits meanwhile",
                          figures.caption(data))
    draw_costs(drawing, (170, 70, 560, 110), data)
    draw_ratios(drawing, (170, 265, 560, 165), data)
    draw_stalls(drawing, (170, 500, 560, 135), data)
    drawing.save(path)
