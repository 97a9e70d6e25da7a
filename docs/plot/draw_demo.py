#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/demo.svg from what record_demo.py recorded.

usage: docs/plot/draw_demo.py [RECORDED [SVG]]     (docs/plot/demo-run.json, docs/demo.svg)
"""
import json
import pathlib
import re
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
GIB = 1 << 30
WIDTH, HEIGHT = 880, 470
LEFT, RIGHT, TOP, BOTTOM = 46, 148, 96, 40
STYLE = """
  .paper{fill:#fff} text{font:13px system-ui,sans-serif;fill:#24292f} .title{font-weight:600;font-size:16px}
  .soft{fill:#57606a} .grid{stroke:#d8dee4;stroke-width:1} .mark{stroke:#57606a;stroke-width:1;stroke-dasharray:2 3}
  .area{stroke:#fff;stroke-width:1} .vm1{fill:#4688dc} .vm2{fill:#2a6fca} .vm3{fill:#1c56a3} .extra1{fill:#cf4f1a}
  .onarea{fill:#fff;font-weight:600} .host{stroke:#24292f;stroke-width:1.5;fill:none;stroke-dasharray:7 4}
  .promised{stroke:#8a3ffc;stroke-width:2.5;fill:none} .promisedtext{fill:#6929c4;font-weight:600}
  .extratext{fill:#a63c10;font-weight:600} .vmtext{fill:#1c5cab;font-weight:600}
  @media (prefers-color-scheme: dark){
    .paper{fill:#0d1117} text{fill:#e6edf3} .soft{fill:#9198a1} .grid{stroke:#2d333b} .mark{stroke:#9198a1}
    .area{stroke:#0d1117} .vm1{fill:#4688dc} .vm2{fill:#2a6fca} .vm3{fill:#1c56a3} .extra1{fill:#cf4f1a}
    .host{stroke:#e6edf3} .promised{stroke:#b28dff} .promisedtext{fill:#c4a7ff} .extratext{fill:#ff9a6c}
    .vmtext{fill:#9ec5f4}
  }"""


def when(lines, pattern):
    """Seconds at which the demo first said this."""
    return next(line["at"] for line in lines if re.search(pattern, line["text"]))


class Plot:
    def __init__(self, begin, end, most):
        self.begin, self.end, self.most, self.parts = begin, end, most, []

    def x(self, at):
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self.begin) / (self.end - self.begin)

    def y(self, size):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * size / self.most

    def path(self, kind, points, closed=False):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<{"polygon" if closed else "polyline"} class="{kind}" points="{text}"/>')

    def line(self, kind, x1, y1, x2, y2):
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def text(self, kind, x, y, words, anchor="start"):
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')


def axes(plot, zero):
    for gib in range(int(plot.most / GIB) + 1):
        plot.line("grid", LEFT, plot.y(gib * GIB), WIDTH - RIGHT, plot.y(gib * GIB))
        plot.text("soft", LEFT - 8, plot.y(gib * GIB) + 4, f"{gib}", "end")
    plot.text("soft", LEFT - 8, TOP - 14, "GiB", "end")
    seconds = range(0, int(plot.end - zero) + 1, 5)
    for second in seconds:
        plot.text("soft", plot.x(zero + second), HEIGHT - BOTTOM + 20, f"{second} s", "middle")


def resident(sample, name):
    return next((vm.get("resident", 0) for vm in sample["vms"] if vm["name"] == name), 0)


def areas(plot, samples):
    names = sorted({vm["name"] for sample in samples for vm in sample["vms"]},
                   key=lambda name: (name.startswith("extra"), name))
    floor = [0] * len(samples)
    for name in names:
        roof = [low + resident(sample, name) for low, sample in zip(floor, samples)]
        held = [i for i, (low, high) in enumerate(zip(floor, roof)) if high > low]
        if not held:
            continue
        shown = range(max(held[0] - 1, 0), held[-1] + 1)
        upper = [(plot.x(samples[i]["at"]), plot.y(roof[i])) for i in shown]
        lower = [(plot.x(samples[i]["at"]), plot.y(floor[i])) for i in shown]
        plot.path(f"area {name}", upper + lower[::-1], closed=True)
        largest = max(held, key=lambda i: roof[i] * (roof[i] - floor[i]))
        # Under the roof where the name begins, not where it ends.
        middle = (roof[max(largest - 2, 0)] + floor[largest]) / 2
        plot.text("onarea", plot.x(samples[largest]["at"]) - 6, plot.y(middle) + 5, name, "end")
        floor = roof


def steps(plot, samples, key):
    points = []
    for sample in samples:
        x, y = plot.x(sample["at"]), plot.y(sample["capacity"][key])
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    plot.path("promised", points)


def event(plot, at, row, words, anchor):
    x, y = plot.x(at), TOP - 44 + 18 * row
    plot.line("mark", x, y - 10, x, HEIGHT - BOTTOM)
    plot.text("", x + (4 if anchor == "start" else -4), y, words, anchor)


def draw(recorded):
    lines, samples = recorded["lines"], recorded["samples"]
    zero = when(lines, r"starting \d+ guests")
    end = when(lines, r"\] done")
    samples = [sample for sample in samples if zero - 1 <= sample["at"] <= end]
    total = samples[-1]["host"]["total"]
    promised = samples[-1]["capacity"]["promised"]
    plot = Plot(zero - 1, end, 5 * GIB)
    axes(plot, zero)
    areas(plot, samples)
    plot.line("host", LEFT, plot.y(total), WIDTH - RIGHT, plot.y(total))
    steps(plot, samples, "promised")
    event(plot, when(lines, "program in each guest touches"), 0, "programs touch 80 %", "start")
    event(plot, when(lines, "start extra1: ullage refuses"), 1, "extra1 refused", "end")
    event(plot, when(lines, "the programs end"), 0, "programs end", "start")
    event(plot, when(lines, r"\] virsh start extra1"), 1, "extra1 admitted", "start")
    after = WIDTH - RIGHT + 8
    plot.text("promisedtext", after, plot.y(promised) + 4, f"promised {promised / GIB:.1f} GiB")
    plot.text("", after, plot.y(total) + 4, f"host {total / GIB:.1f} GiB")
    guests = [name for name in ("vm1", "vm2", "vm3") if resident(samples[-1], name)]
    held = sum(resident(samples[-1], name) for name in guests)
    extra = resident(samples[-1], "extra1")
    plot.text("extratext", after, plot.y(held + extra / 2) - 4, "extra1")
    plot.text("vmtext", after, plot.y(held / 2) + 4, f"{guests[0]} to {guests[-1]}")
    most = max(sum(resident(sample, name) for name in guests) for sample in samples)
    run = recorded["run"]
    engine = re.search(r"guests run on (\w+)", "\n".join(line["text"] for line in lines))[1].upper()
    told = (f"Three guests are promised all {total / GIB:.1f} GiB of the host and come to hold {most / GIB:.1f} GiB. A "
            f"fourth, extra1, is refused. Their programs end, the memory falls to {held / GIB:.1f} GiB within two "
            f"seconds, and extra1 is admitted: {promised / GIB:.1f} GiB are promised on the {total / GIB:.1f} GiB host. "
            f"extra1 touches its memory, ends its program and gives it back, too.")
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc">
<title id="title">Memory of the demo's host over time</title>
<desc id="desc">{escape(told)} Recorded from ./demo on {run["date"]}, commit {run["commit"]}, {run["cpus"]} CPUs, {engine}.</desc>
<style>{STYLE}
</style>
<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>
<text class="title" x="{LEFT - 26}" y="26">What the guests hold (areas) and what they were promised (line)</text>
{chr(10).join(plot.parts)}
</svg>
"""


def main():
    source = sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs/plot/demo-run.json"
    target = sys.argv[2] if len(sys.argv) > 2 else ROOT / "docs/demo.svg"
    with open(source, encoding="utf-8") as file:
        recorded = json.load(file)
    pathlib.Path(target).write_text(draw(recorded), encoding="utf-8")


main()
