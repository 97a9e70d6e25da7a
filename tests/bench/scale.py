# SPDX-License-Identifier: Apache-2.0
"""What the agents of 5,000 nodes ask of one API server: at rest, and after it was away for a minute.

The agents' own watch loops, policy and writers on a virtual clock (tests/simulation/scale.h); no guests.
"""
import json

from lib import figures, svg
from lib.lab import BUILD, build, call

NEEDS_AGENT = False
RUNS = 1  # seeds; a seed is one run, on every machine
NODES, WORKLOAD, TICK_MS, HOURS = 5000, "mixed", 10000, 6
# docs/scale.md: what 5,000 nodes may ask for.
MOST_AT_REST, MOST_WRITES_AT_REST, MOST_AFTER, MOST_WRITES_AFTER, CALM_AFTER = 250, 100, 4000, 500, 60
WRITES = ("node_writes", "reclaim_writes", "event_writes")
REQUESTS = ("begun", "lists", "etcd_lists", *WRITES)
# Kept for the picture: seconds before the API server went, and after it came back.
BEFORE, AFTER = 30, 120


def one(seed):
    return json.loads(call([BUILD / "bin/scale_sim", NODES, seed, WORKLOAD, TICK_MS, HOURS], patience=7200))


def measure(runs):
    build("scale_sim")
    found = [one(seed) for seed in range(1, runs + 1)]
    for run in found:
        say(run)
    return {"runs": [kept(run) for run in found]}


def total(run, names, second):
    return sum(run[name][second] for name in names)


def summary(run):
    rest = range(run["rest_from"], run["left"])
    back = run["returned"]
    after = range(back, len(run["begun"]))
    every = [total(run, REQUESTS, second) for second in after]
    calm = next((second for second in range(len(every) - 10)
                 if max(every[second:]) <= MOST_AT_REST), len(every))
    mean = {name: sum(run[name][second] for second in rest) / len(rest) for name in (*REQUESTS, "lines", "written")}
    listing = [run["listed"][second] for second in after]
    return {"mean": mean, "rest": sum(mean[name] for name in REQUESTS),
            "rest_writes": sum(mean[name] for name in WRITES),
            "rest_peak": max(total(run, REQUESTS, second) for second in rest), "peak": max(every),
            "peak_writes": max(total(run, WRITES, second) for second in after),
            "lists": sum(total(run, ("lists", "etcd_lists"), second) for second in after),
            "etcd_lists": sum(run["etcd_lists"][second] for second in after), "calm": calm,
            "listed": sum(listing), "listed_peak": max(listing)}


def say(run):
    found = summary(run)
    how = (f"{run['nodes']} nodes of {run['vms']} VMs, {WORKLOAD}, tick {TICK_MS / 1000:g} s; "
           f"an API server that is away for {run['returned'] - run['left']} s")
    figures.say("requests at rest", "/s", [found["rest"]], [], how, bar=MOST_AT_REST)
    figures.say("writes at rest", "/s", [found["rest_writes"]], [], how, bar=MOST_WRITES_AT_REST)
    figures.say("most requests in a second after it is back", "/s", [found["peak"]], [], how, bar=MOST_AFTER)
    figures.say("most writes in a second after it is back", "/s", [found["peak_writes"]], [], how,
                bar=MOST_WRITES_AFTER)
    figures.say("lists that it reads from etcd", "", [found["etcd_lists"]], [], how, bar=0)
    figures.say("seconds until it is calm", "s", [found["calm"]], [], how, bar=CALM_AFTER)
    figures.say("listed", "GB", [found["listed"] / 1e9], [], how)
    figures.say("most listed in a second", "MB/s", [found["listed_peak"] / 1e6], [], how)


def kept(run):
    window = slice(run["left"] - BEFORE, run["returned"] + AFTER)
    return {"nodes": run["nodes"], "vms": run["vms"], "watches": run["watches"], "most_reclaim": run["most_reclaim"],
            "away": run["returned"] - run["left"], "summary": summary(run),
            "series": {name: run[name][window] for name in REQUESTS}}


def draw(data, path):
    run = data["runs"][0]
    series = run["series"]
    seconds = range(len(series["begun"]))
    back = BEFORE + run["away"]
    groups = (("all requests", REQUESTS, svg.THEIRS), ("lists", ("lists", "etcd_lists"), svg.OURS),
              ("writes", WRITES, svg.INK))
    most = max(sum(series[name][second] for name in names) for _, names, _ in groups for second in seconds)
    drawing = svg.Drawing(880, 400, "An API server was away for a minute: what 5,000 agents ask of it then",
                          f"{data['run']['date']}, commit {data['run']['commit']}; the agents' own code on a virtual "
                          f"clock, {run['nodes']} nodes of {run['vms']:.0f} VMs",
                          "Each line: requests of that kind in each second.")
    chart = svg.Chart(drawing, (80, 80, 760, 220), (-back, AFTER), (0, most * 1.1))
    chart.x_axis("seconds since it is back")
    chart.y_axis("requests a second")
    chart.upright(-run["away"], svg.BAR, "away")
    chart.upright(0, svg.BAR, "back")
    for row, (words, names, colour) in enumerate(groups):
        points = [(second - back, sum(series[name][second] for name in names)) for second in seconds]
        chart.line(points, colour)
        drawing.text(640, 100 + 18 * row, words, colour, weight=600)
    drawing.save(path)
