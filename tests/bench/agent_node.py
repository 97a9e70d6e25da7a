# SPDX-License-Identifier: Apache-2.0
"""What the agent costs on a Kubernetes node with 250 VMs: its memory by its cgroup's charge, and its CPU."""
import sys
import time

from lib import cost, figures, svg
from lib.launchers import LIMIT_MIB, ApiServer, Node, NodeAgent

RUNS = 3  # windows
VMS = 250
WINDOW = 120  # as long as the longest of the agent's periods
SETTLE = 130  # a fresh agent looks closely at each VM for a minute, and then once in 120 s
MEMORY_BAR, CPU_BAR = LIMIT_MIB, 1.0


def how(data):
    return (f"ullage-agent as the chart runs it (mode publish, tick 1 s, probes, /metrics every 30 s), limited to {MEMORY_BAR} MiB by its memory cgroup, against a real "
            f"API server with {data['vms']} VMIs and launcher pods, nothing changing; STAND-INS: the pods' processes "
            "(the real memory cgroups, launcher-sock and program names, 1 MiB each, no guest) and their libvirt (its "
            f"RPC, one domain each), no kubelet; windows of {WINDOW} s, begun {SETTLE} s after every VM was known")


def measure(runs):
    data = {"vms": VMS, "cpu": [], "memory": []}
    with ApiServer() as api, Node(api, VMS) as node, NodeAgent(api, node) as agent:
        time.sleep(SETTLE)
        for _ in range(runs):
            watched = cost.Window({"agent": [agent.process.pid]})
            time.sleep(WINDOW)
            data["cpu"].append(watched.shares()["agent"])
            data["memory"].append({**agent.charge(), "VmRSS": cost.memory(agent.process.pid)["VmRSS"]})
            print(f"agent-node: {data['cpu'][-1]:.3f} % {data['memory'][-1]}", file=sys.stderr)
    report(data)
    return data


def report(data):
    told = how(data)
    memory = [row["working_set"] for row in data["memory"]]
    figures.say("agent-node.memory", "MiB", memory, [], "what its memory cgroup is charged, the kernel's part and its "
                f"state directory with it, without file pages that nobody uses; {told}", bar=MEMORY_BAR, every=True)
    for name in ("charged", "anon", "VmRSS"):
        figures.say(f"agent-node.memory_{name.lower()}", "MiB", [row[name] for row in data["memory"]], [], told)
    figures.say("agent-node.cpu", "% of a core", data["cpu"], [], f"utime + stime; {told}", bar=CPU_BAR, every=True)


def draw(data, path):
    memory = max(row["working_set"] for row in data["memory"])
    cpu = max(data["cpu"])
    drawing = svg.Drawing(760, 290, f"What the agent needs on a Kubernetes node with {data['vms']} VMs",
                          f"the worst of {len(data['cpu'])} windows of {WINDOW} s at rest, tick 1 s; real API server, "
                          "stand-ins for launchers and their libvirt", figures.caption(data))
    for top, value, bar, unit, goal in ((70, memory, MEMORY_BAR, "MiB charged to its cgroup, without unused file pages", f"{MEMORY_BAR} MiB"),
                                        (175, cpu, CPU_BAR, "per cent of one core", f"{CPU_BAR:g} %")):
        chart = svg.Chart(drawing, (150, top, 570, 32), (0, max(value, bar) * 1.1), (0, 1))
        chart.x_axis(unit)
        chart.bar(value, 0.5, 20, svg.OURS)
        chart.upright(bar, svg.BAR, f"bar: {goal}")
        drawing.text(140, chart.at(0, 0.5)[1] + 4, f"agent  {value:.3g}", svg.OURS, anchor="end", weight=600)
    drawing.save(path)
