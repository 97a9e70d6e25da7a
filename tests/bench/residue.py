# SPDX-License-Identifier: Apache-2.0
"""What stays charged for a guest because its free memory lies in small pieces or is page cache."""
import json
import statistics
import subprocess
import sys

from lib import figures, stats, svg
from lib.lab import MIB, ROOT, BenchError, end

RUNS = 3
NAMES = {"stock": "stock virtio_balloon", "tuned": "stock, tuned by a script", "ours": "ullage",
         "more": "ullage, compact_mib=8"}
CASES = (("build", "left after a build, its removal and dropped caches"),
         ("holes", "left of 512 MiB that are free in holes of 64 KiB"),
         ("cache", "left of 300 MiB of files read once, after 40 s"))


def run(runs, cases):
    """The measuring is a program of the guest module's own; its lines, as they come."""
    process = subprocess.Popen([ROOT / "guest-module/tests/residue-bench", "--runs", str(runs), "--cases", cases],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
    lines = []
    try:
        for line in process.stdout:
            lines.append(json.loads(line))
            one = lines[-1]
            left = one["freed"] - one["back"] if one["case"] == "holes" else one["left"]
            print(f"residue: {one['case']}: {one['config']}: {left / MIB:.0f} MiB left"
                  + (f", {one['ms']:.0f} ms" if "ms" in one else ""), file=sys.stderr)
        if process.wait() != 0:
            raise BenchError(f"residue-bench: exit status {process.returncode}")
    finally:
        end(process)
    return lines


def left_mib(lines, case, config):
    here = [one for one in lines if one["case"] == case and one["config"] == config]
    if case == "holes":
        return [(one["freed"] - one["back"]) / MIB for one in here]
    return [one["left"] / MIB for one in here]


def say_build(lines):
    """The n-th run of stock and of ours were neighbours."""
    runs = {config: [one for one in lines if one["case"] == "build" and one["config"] == config]
            for config in NAMES}
    how = ("a build of 120 units in a 1 GiB guest, 2 at a time, then removed and caches dropped; QEMU's "
           "cgroup above the same guest's at boot, when it has come to rest")
    for config in ("ours", "tuned", "more"):
        name = "residue.build" + ("" if config == "ours" else "." + config)
        figures.say(name, "MiB", left_mib(lines, "build", config), left_mib(lines, "build", "stock"), how,
                    most_ratio=0.333 if config == "ours" else None)
    ours, stock = ([one["ms"] / 1000 for one in runs[config]] for config in ("ours", "stock"))
    ratio, low, high = stats.paired_ratio(ours, stock)
    words = "one pair has no interval" if low is None else f"{low:.3f} to {high:.3f} times as long (95 %)"
    figures.say("residue.build.time", "s", ours, stock,
                f"the build's own time, pairs in alternating order: {words}", ratio=ratio, most_ratio=1.01)
    figures.say("residue.build.compaction", "of the build's time",
                [one["compact_ns_meanwhile"] / 1e6 / one["ms"] for one in runs["ours"]], [],
                "time spent compacting from boot to the build's end", bar=0.01, every=True)


def say_others(lines):
    how = "1 GiB of base pages of which every second 64 KiB were freed; share of these 512 MiB still charged"
    stock = [one / 512 for one in left_mib(lines, "holes", "stock")]
    for config in ("ours", "tuned", "more"):
        figures.say("residue.holes" + ("" if config == "ours" else "." + config), "of what is free",
                    [one / 512 for one in left_mib(lines, "holes", config)], stock, how,
                    bar=0.2 if config == "ours" else None)
    cache = {one["config"]: one for one in lines if one["case"] == "cache"}
    for config in ("ours", "tuned"):
        name = "residue.cache" + ("" if config == "ours" else "." + config)
        figures.say(name, "of what was read once", [cache[config]["left"] / cache[config]["added"]],
                    [cache["stock"]["left"] / cache["stock"]["added"]],
                    "300 MiB read once; the charge above the one before, 40 s later")
    # A file of 64 MiB comes from memory in some 20 ms; what is read again costs 10 times that.
    figures.say("residue.cache.hot", "s", [statistics.median(cache["ours"]["hot_s"])],
                [statistics.median(cache["stock"]["hot_s"])],
                "64 MiB read again every 1.5 s while the rest is trimmed; refaults "
                f"{cache['ours']['refaults']}, with stock {cache['stock']['refaults']}")


def measure(runs):
    lines = run(runs, "build,holes,cache")
    say_build(lines)
    say_others(lines)
    return {"left": {case: {config: left_mib(lines, case, config) for config in NAMES} for case, _ in CASES}}


def draw(data, path):
    drawing = svg.Drawing(760, 560, "What stays charged although the guest does not need it",
                          "median of the runs of each; MiB above the same guest's charge before",
                          figures.caption(data))
    colours = {"stock": svg.THEIRS, "tuned": "#bf9b4a", "ours": svg.OURS, "more": "#54aeff"}
    for row, (case, title) in enumerate(CASES):
        left = {config: statistics.median(some) for config, some in data["left"][case].items() if some}
        most = max(max(left.values()), 1)
        top = 75 + 150 * row
        drawing.text(20, top, title, weight=600)
        chart = svg.Chart(drawing, (190, top + 8, 460, 112), (0, most), (0, len(NAMES)))
        for line, (config, words) in enumerate(NAMES.items()):
            y = len(NAMES) - line - 0.5
            _, middle = chart.at(0, y)
            drawing.text(180, middle + 4, words, anchor="end")
            if config not in left:
                drawing.text(196, middle + 4, "as ullage", "#57606a")
                continue
            chart.bar(max(left[config], 0), y, 18, colours[config])
            x, _ = chart.at(max(left[config], 0), y)
            drawing.text(x + 6, middle + 4, f"{left[config]:.0f} MiB")
    drawing.save(path)
