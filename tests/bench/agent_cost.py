# SPDX-License-Identifier: Apache-2.0
"""What the agent costs with ten VMs: its own memory and CPU, and what its questions cost others."""
import concurrent.futures
import sys
import time

from lib import cost, figures, svg
from lib.lab import Agent, Lab

RUNS = 3  # pairs of windows, without the agent and with it
VMS = 10
GUEST_MIB = 192
WINDOW = 60
SETTLE = 15  # a fresh agent looks closely at each VM first
MEMORY_BAR, CPU_BAR = 40, 1.0
HOW = (f"{VMS} idle VMs of {GUEST_MIB} MiB (our module, reporting on), ullage-agent as shipped (mode publish, "
       f"tick 1 s), no client; windows of {WINDOW} s, begun {SETTLE} s after its start")


def boot(lab):
    names = [f"vm{index}" for index in range(VMS)]
    for name in names:
        lab.guest(name, "--mem", GUEST_MIB, "--driver", "ullage", "--reporting", "on")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lab.wait, names))
    return names


def window(groups):
    watched = cost.Window(groups)
    time.sleep(WINDOW)
    return watched.shares()


def measure(runs):
    data = {"without": [], "with": [], "memory": []}
    with Lab(4096) as lab:
        names = boot(lab)
        others = {"libvirtd": [int(lab.status()["libvirtd"])], "qemu": [lab.pid(name) for name in names]}
        for _ in range(runs):
            time.sleep(SETTLE)
            data["without"].append(window(others))
            with Agent(lab) as agent:
                agent.hinting_on(names, patience=120)
                time.sleep(SETTLE)
                pid = agent.process.pid
                data["with"].append(window({"agent": [pid], **others}))
                data["memory"].append(cost.memory(pid))
            print(f"agent-cost: {data['with'][-1]} {data['memory'][-1]}", file=sys.stderr)
    report(data)
    return data


def column(rows, key):
    return [row[key] for row in rows]


def report(data):
    with_it, without, memory = data["with"], data["without"], data["memory"]
    figures.say("agent-cost.memory", "MiB", column(memory, "VmRSS"), [], f"VmRSS; {HOW}", bar=MEMORY_BAR)
    figures.say("agent-cost.memory_pss", "MiB", column(memory, "Pss"), [], f"Pss of smaps_rollup; {HOW}")
    figures.say("agent-cost.memory_own", "MiB", column(memory, "own"), [], f"private pages; {HOW}")
    figures.say("agent-cost.cpu", "% of a core", column(with_it, "agent"), [], f"utime + stime; {HOW}", bar=CPU_BAR)
    for name, who in (("libvirtd", "libvirtd"), ("qemu", f"all {VMS} QEMUs with their guests")):
        figures.say(f"agent-cost.{name}_cpu", "% of a core", column(with_it, name), column(without, name),
                    f"{who}: ours = with the agent, theirs = without it, in turns; {HOW}")


def draw(data, path):
    rss, cpu = (figures.middle(column(data["memory"], "VmRSS")), figures.middle(column(data["with"], "agent")))
    asked = figures.middle(column(data["with"], "libvirtd")) - figures.middle(column(data["without"], "libvirtd"))
    drawing = svg.Drawing(760, 325, f"What the agent needs with {VMS} VMs",
                          f"medians of {len(data['with'])} windows of {WINDOW} s, idle guests, tick 1 s; "
                          "for libvirtd what it uses more than without the agent", figures.caption(data))
    memory = svg.Chart(drawing, (150, 70, 570, 40), (0, max(rss, MEMORY_BAR) * 1.1), (0, 1))
    memory.x_axis("MiB resident")
    memory.bar(rss, 0.5, 22, svg.OURS)
    memory.upright(MEMORY_BAR, svg.BAR, f"goal: {MEMORY_BAR} MiB")
    drawing.text(140, memory.at(0, 0.5)[1] + 4, f"agent  {rss:.1f}", svg.OURS, anchor="end", weight=600)
    share = svg.Chart(drawing, (150, 175, 570, 56), (0, max(cpu, asked, CPU_BAR) * 1.1), (0, 2))
    share.x_axis("per cent of one core")
    share.bar(cpu, 1.5, 20, svg.OURS)
    share.bar(asked, 0.5, 20, "#8c959f")
    share.upright(CPU_BAR, svg.BAR, f"goal: {CPU_BAR:g} %")
    drawing.text(140, share.at(0, 1.5)[1] + 4, f"agent  {cpu:.2f}", svg.OURS, anchor="end", weight=600)
    drawing.text(140, share.at(0, 0.5)[1] + 4, f"libvirtd, for it  {asked:.2f}", "#57606a", anchor="end")
    drawing.save(path)
