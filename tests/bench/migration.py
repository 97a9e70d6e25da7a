# SPDX-License-Identifier: Apache-2.0
"""What a local migration sends of a guest whose program has just freed 1 GiB."""
import json
import subprocess
import sys

from lib import figures, svg
from lib.lab import ROOT, BenchError, end

RUNS = 3
NEEDS_AGENT = False
PATIENCE = 900
LABELS = {"none": "neither", "stock-hint": "hints, stock driver", "hint": "hints, ullage",
          "reporting": "reporting, ullage"}
HOW = ("a 1536 MiB guest in which a program wrote and freed 1 GiB, migrated over a unix socket at QEMU's own "
       "limits; {what}; theirs: {theirs}")


def measure(runs):
    process = subprocess.Popen([ROOT / "guest-module/tests/migrate", "--runs", str(runs), *LABELS],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        end(process)
    if process.returncode != 0:
        raise BenchError("guest-module/tests/migrate failed; see above")
    print(output, end="", file=sys.stderr)
    data = [json.loads(line) for line in output.splitlines()]

    def of(case, key):
        return [run[key] for run in data if run["case"] == case]
    for name, case, other in (("reporting", "reporting", "none"), ("hint", "hint", "none"),
                              ("hint-stock", "hint", "stock-hint")):
        for key, unit, what in (("sent_mib", "MiB", "RAM that was sent"), ("seconds", "s", "the whole time"),
                                ("downtime_ms", "ms", "the guest's standstill"),
                                ("crashed", "guests", "guests that did not go on at the other end"),
                                ("rise_mib", "MiB", "rise of the source's charge meanwhile")):
            figures.say(f"migration.{name}.{key.rpartition('_')[0] or key}", unit, of(case, key), of(other, key),
                        HOW.format(what=what, theirs=LABELS[other]))
    return {"runs": data}


def draw(data, path):
    drawing = svg.Drawing(760, 340, "What a migration sends after a program in the guest has freed 1 GiB",
                          "each dot a run", figures.caption(data))
    high = max(run["sent_mib"] for run in data["runs"])
    chart = svg.Chart(drawing, (180, 60, 540, 190), (0, high * 1.15), (0, len(LABELS)))
    chart.x_axis("MiB sent")
    for row, (case, label) in enumerate(LABELS.items()):
        runs = [run for run in data["runs"] if run["case"] == case]
        colour = svg.OURS if case in ("hint", "reporting") else svg.THEIRS
        _, y = chart.at(0, len(LABELS) - row - 0.5)
        drawing.text(170, y + 4, label, colour, size=13, anchor="end", weight=600)
        sent = figures.middle([run["sent_mib"] for run in runs])
        seconds = figures.middle([run["seconds"] for run in runs])
        for run in runs:
            chart.dot(run["sent_mib"], len(LABELS) - row - 0.5, colour)
        right, _ = chart.at(sent, 0)
        drawing.text(min(right + 12, 640), y - 10, f"{sent:.0f} MiB, {seconds:.1f} s", size=12)
    drawing.save(path)
