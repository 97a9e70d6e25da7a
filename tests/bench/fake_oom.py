# SPDX-License-Identifier: Apache-2.0
"""Who is killed in a guest that takes all its free memory while a slow host works at a report."""
import json
import subprocess
import sys

from lib import figures, svg
from lib.lab import ROOT, BenchError, end

RUNS = 5
NEEDS_AGENT = False
CONTROL_RUNS = 2
PATIENCE = 600
LABELS = {"stock": "stock virtio_balloon", "ours": "ullage", "reserve": "ullage with a reserve"}
COLOURS = {"stock": svg.THEIRS, "ours": svg.OURS, "reserve": svg.OURS}
HOW = ("a balloon device in the guest answers each report after {delay_ms} ms; while {flying} MiB and more are "
       "on their way a program takes {want} MiB, which it gets every time where nothing is reported")


def runs_of(drivers, runs):
    """What guest-module/tests/fake-oom says of each run."""
    process = subprocess.Popen([ROOT / "guest-module/tests/fake-oom", "--runs", str(runs), *drivers],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        end(process)
    if process.returncode != 0:
        raise BenchError("guest-module/tests/fake-oom failed; see above")
    print(output, end="", file=sys.stderr)
    return [json.loads(line) for line in output.splitlines()]


def measure(runs):
    control = runs_of(["off"], CONTROL_RUNS)
    if any(run["killed"] for run in control):
        raise BenchError("the program does not fit into the guest even where nothing is reported")
    data = runs_of(LABELS, runs)
    by = {name: [run for run in data if run["driver"] == name] for name in LABELS}
    how = HOW.format(delay_ms=data[0]["delay_ms"], want=data[0]["want_mib"],
                     flying=min(run["in_flight_mib"] for run in data))
    for name, suffix in (("ours", ""), ("reserve", ".reserve")):
        killed, longest = ([[run[key] for run in by[who]] for who in (name, "stock")]
                           for key in ("killed", "longest_ms"))
        figures.say(f"fake-oom{suffix}.killed", "processes", *killed, "killed for want of memory; " + how,
                    bar=0, every=True)
        figures.say(f"fake-oom{suffix}.stall", "ms", *longest, "the program's longest wait for a page, if it "
                    "lived; " + how)
    return {"control": control, "runs": data}


def draw(data, path):
    drawing = svg.Drawing(760, 300, "A guest takes all its free memory while a slow host works at a report",
                          "each dot a run: the longest wait for a page; a run in which the program was killed "
                          "for want of memory has none", figures.caption(data))
    times = [run["longest_ms"] / 1000 for run in data["runs"] if run["longest_ms"] is not None]
    chart = svg.Chart(drawing, (180, 60, 400, 150), (0, max([1.0, *times]) * 1.1), (0, len(LABELS)))
    chart.x_axis("seconds")
    for row, (name, label) in enumerate(LABELS.items()):
        runs = [run for run in data["runs"] if run["driver"] == name]
        killed = sum(1 for run in runs if run["killed"])
        _, y = chart.at(0, len(LABELS) - row - 0.5)
        drawing.text(170, y + 4, label, COLOURS[name], size=13, anchor="end", weight=600)
        drawing.text(600, y + 4, f"killed in {killed} of {len(runs)} runs", svg.BAR if killed else svg.INK, size=13)
        for run in runs:
            if run["longest_ms"] is not None:
                chart.dot(run["longest_ms"] / 1000, len(LABELS) - row - 0.5, COLOURS[name])
    drawing.save(path)
