# SPDX-License-Identifier: Apache-2.0
"""What one decision costs for so many VMs, and whether memory grows from tick to tick."""
import json

from lib import figures, svg
from lib.lab import BUILD, BenchError, build, call

RUNS = 5
NEEDS_AGENT = False
BAR = 1000  # µs for 1,000 VMs
HOW = ("policy::Policy::Decide, {vms} VMs whose charge changes at each tick, half of them hybrid, a quarter on "
       "reclaimed memory, two horizons after the start; Google Benchmark, the mean of 1,200 decisions a repetition")


def measure(runs):
    build("decide_bench")
    said = call([BUILD / "bin/decide_bench", "--benchmark_format=json", f"--benchmark_repetitions={runs}"])
    report = json.loads(said[said.index("\n{"):] if not said.startswith("{") else said)  # after its warnings
    rows = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration":
            row = rows.setdefault(run["name"].split("/")[1], {"us": [], "kept": []})
            row["us"].append(run["cpu_time"])
            row["kept"].append(run["kept_allocations"])
    if not rows:
        raise BenchError("decide_bench said nothing")
    for vms, row in rows.items():
        how = HOW.format(vms=vms)
        figures.say(f"decide.{vms}", "us", row["us"], [], how, bar=BAR if vms == "1000" else None)
        figures.say(f"decide.{vms}.kept", "allocations", row["kept"], [], "still held after 1,200 more ticks; " + how,
                    bar=0, every=True)
    return {"rows": rows}


def draw(data, path):
    rows = data["rows"]
    most = max([BAR, *(max(row["us"]) for row in rows.values())])
    drawing = svg.Drawing(760, 250, "What one decision of the policy costs",
                          "each dot a repetition of 1,200 decisions", figures.caption(data))
    chart = svg.Chart(drawing, (150, 60, 560, 110), (0, most * 1.1), (0, len(rows)))
    chart.x_axis("microseconds of CPU time")
    chart.upright(BAR, svg.BAR, "bar for 1,000 VMs")
    for place, (vms, row) in enumerate(rows.items()):
        y = len(rows) - place - 0.5
        _, line = chart.at(0, y)
        drawing.text(142, line + 4, f"{vms} VMs", size=13, anchor="end")
        for one in row["us"]:
            chart.dot(one, y, svg.OURS)
    drawing.save(path)
