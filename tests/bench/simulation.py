# SPDX-License-Identifier: Apache-2.0
"""The agent's policy and its rivals in virtual time, workload by workload, without swap and with it.

Each run is 20 nodes for 72 hours by one seed; the rivals run beside the first seeds. Runs that were made are
kept in build/bench/simulation.jsonl, by program, and not made again: a run that was interrupted goes on.
"""
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from lib import figures, svg
from lib.lab import ROOT

NEEDS_AGENT = False
RUNS = 60  # seeds: 60 × 6 workloads × 2 × 1,440 node-hours are a million
RIVAL_SEEDS = 4
NODES, HOURS = 20, 72
WORKLOADS = ("diurnal", "bursts", "together", "sawtooth", "liar", "mixed")
SWAPS = (0, 32)
BROKEN_AT_MOST, DENSITY_AT_LEAST = 0.0001, 1.26
SUMS = ("node_hours", "windows", "broken", "oom_kills", "evictions", "migrations", "writes", "stall_seconds")


def program():
    subprocess.run(["ninja", "-C", "build/release", "ullagectl"], cwd=ROOT, check=True, stdout=sys.stderr)
    return ROOT / "build/release/bin/ullagectl"


def run_one(ctl, key):
    workload, swap, seed = key
    only = ["--strategy", "ullage", "none"] if seed > RIVAL_SEEDS else []
    done = subprocess.run(
        [ctl, "simulate", *only, "--workload", workload, "--swap", str(swap), "--seed", str(seed), "--nodes", str(NODES),
         "--hours", str(HOURS), "-o", "json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["strategies"]


def measure(runs):
    ctl = program()
    mark = hashlib.sha256(ctl.read_bytes()).hexdigest()[:16]
    path = ROOT / "build/bench/simulation.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        one = json.loads(line)
        if one["program"] == mark:
            known[tuple(one["key"])] = one["strategies"]
    # Seed by seed, so that whatever was reached covers everything evenly.
    keys = [(workload, swap, seed) for seed in range(1, runs + 1) for workload in WORKLOADS for swap in SWAPS]
    with path.open("a", encoding="utf-8") as kept, ThreadPoolExecutor(os.cpu_count()) as pool:
        missing = [key for key in keys if key not in known]
        for key, strategies in zip(missing, pool.map(lambda key: run_one(ctl, key), missing)):
            known[key] = strategies
            kept.write(json.dumps({"program": mark, "key": key, "strategies": strategies}) + "\n")
            kept.flush()
    data = {"seeds": f"1 to {runs}", "nodes": NODES, "hours": HOURS, "sums": add_up(known, keys)}
    say(data)
    return data


def add_up(known, keys):
    """[{workload, swap, name, runs, density (mean), and the sums}]"""
    sums = {}
    for key in keys:
        for one in known[key]:
            row = sums.setdefault((key[0], key[1], one["name"]), dict.fromkeys(SUMS, 0) | {"runs": 0, "density": 0})
            row["runs"] += 1
            row["density"] += one["density"]
            for field in SUMS:
                row[field] += one[field]
    return [{"workload": workload, "swap": swap, "name": name, **row, "density": round(row["density"] / row["runs"], 4)}
            for (workload, swap, name), row in sums.items()]


def over_all(data, swap):
    """By strategy: mean density and the share of broken promises, over all workloads."""
    result = {}
    for row in data["sums"]:
        if row["swap"] != swap:
            continue
        sums = result.setdefault(row["name"], {"density": 0, "rows": 0, **dict.fromkeys(SUMS, 0)})
        sums["density"] += row["density"]
        sums["rows"] += 1
        for field in SUMS:
            sums[field] += row[field]
    for sums in result.values():
        sums["density"] /= sums["rows"]
        sums["share"] = sums["broken"] / sums["windows"]
    return result


def say(data):
    for swap in SWAPS:
        every = over_all(data, swap)
        ours = every["ullage"]
        as_safe = [one["density"] for name, one in every.items() if name != "ullage" and one["share"] <= ours["share"]]
        how = (f"{ours['node_hours']:.0f} node-hours, {swap} GiB of swap, seeds {data['seeds']}; rivals: "
               f"{every['static']['node_hours']:.0f} node-hours")
        figures.say("density, of no overcommit", "", [ours["density"]], [max(as_safe)],
                    how + "; theirs: the most of those whose promise broke no more often", least_ratio=1.26)
        figures.say("promises broken", "", [ours["share"]], [every["static"]["share"]],
                    how + "; theirs: a static ratio of 150 %", bar=BROKEN_AT_MOST)
        figures.say("VMs killed for want of memory", "", [ours["oom_kills"]], [every["static"]["oom_kills"]], how,
                    bar=0)


def draw(data, path):
    names = ["ullage", "none", "static", "wasp", "koordinator", "mom", "proxmox", "sigma"]
    drawing = svg.Drawing(880, 640, "VMs placed beside what it costs: promises broken within 10 minutes",
                          f"{data['run']['date']}, commit {data['run']['commit']}; six workloads, seeds {data['seeds']}",
                          "Left: VMs a node, of those without overcommit. Right: share of broken promises in %; the bar is 0.01.")
    for column, swap in enumerate(SWAPS):
        every = over_all(data, swap)
        top = 70 + column * 270
        drawing.text(20, top + 4, "without swap" if swap == 0 else f"{swap} GiB of swap", weight=600)
        chart = svg.Chart(drawing, (120, top + 14, 420, 200), (0, 250), (0, 8))
        chart.x_axis("VMs, %")
        for row, name in enumerate(names):
            one = every[name]
            y = 7.5 - row
            chart.bar(100 * one["density"], y, 15, svg.OURS if name == "ullage" else svg.THEIRS)
            _, at = chart.at(0, y)
            drawing.text(112, at + 4, name, anchor="end")
            broken = one["share"] > BROKEN_AT_MOST
            drawing.text(570, at + 4, f"{100 * one['share']:.4f} %   kills {one['oom_kills']}   evicted {one['evictions']}",
                         svg.BAR if broken else svg.INK)
    drawing.save(path)
