# SPDX-License-Identifier: Apache-2.0
"""What a bench says: one JSON object a line, and the data of its plot."""
import json
import os
import statistics
import subprocess
import time

from lib.lab import ROOT

UNMET = []  # names of figures that missed their bar in this run
PLOTS = ROOT / "docs/bench"


def rounded(value):
    """Four digits are more than any of these figures is worth."""
    return None if value is None else float(f"{value:.4g}")


def middle(samples):
    """The median; a run that never came to its end makes it worse, not better."""
    present = sorted(samples, key=lambda one: float("inf") if one is None else one)
    if not present or present[len(present) // 2] is None:
        return None
    return statistics.median(one if one is not None else float("inf") for one in present)


def spread(samples):
    present = [one for one in samples if one is not None]
    return {"min": rounded(min(present)), "max": rounded(max(present)),
            "missing": len(samples) - len(present)} if present else None


def say(name, unit, ours, theirs, how, bar=None, ratio=None, least_ratio=None, most_ratio=None, every=False,
        least=None):
    """One line. `ours` and `theirs` are samples; `bar` is the most that ours may be (with `every` in each
    run, else their median), `least` the least that their median may be, `least_ratio` and `most_ratio` what
    ours through theirs may be: that of the medians, or `ratio`."""
    figure = {"name": name, "unit": unit, "ours": rounded(middle(ours)), "theirs": rounded(middle(theirs))}
    both = figure["ours"] is not None and figure["theirs"]
    figure["ratio"] = rounded(ratio if ratio is not None else figure["ours"] / figure["theirs"]) if both else None
    figure["spread"] = {"ours": spread(ours), "theirs": spread(theirs)}
    figure["n"] = len(ours)
    if least_ratio is not None:
        figure["bar"] = f"ratio >= {least_ratio}"
        figure["met"] = figure["ratio"] is not None and figure["ratio"] >= least_ratio
    elif most_ratio is not None:
        figure["bar"] = f"ratio <= {most_ratio}"
        figure["met"] = figure["ratio"] is not None and figure["ratio"] <= most_ratio
    elif least is not None:
        figure["bar"] = f">= {least}"
        figure["met"] = figure["ours"] is not None and figure["ours"] >= least
    elif bar is not None:
        figure["bar"] = bar
        if every:
            figure["met"] = all(one is not None and one <= bar for one in ours)
        else:
            figure["met"] = figure["ours"] is not None and figure["ours"] <= bar
    figure["how"] = how
    if figure.get("met") is False:
        UNMET.append(name)
    print(json.dumps(figure), flush=True)
    return figure


def machine():
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"],
                            capture_output=True, text=True, check=False).stdout.strip()
    accel = subprocess.run([str(ROOT / "scripts/accel")], capture_output=True, text=True, check=False)
    return {"date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit, "cpus": os.cpu_count(),
            "accel": accel.stdout.strip(), "load": round(os.getloadavg()[0], 2)}


def caption(data):
    run = data["run"]
    guests = "emulated (TCG)" if run["accel"] == "tcg" else run["accel"].upper()
    return f"{run['date']}, commit {run['commit']}, {run['cpus']} CPUs, guests {guests}"


def keep(name, data):
    """So that a plot can be drawn again without another run."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    (PLOTS / f"{name}.json").write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


def has(name):
    return (PLOTS / f"{name}.json").exists()


def kept(name):
    return json.loads((PLOTS / f"{name}.json").read_text(encoding="utf-8"))
