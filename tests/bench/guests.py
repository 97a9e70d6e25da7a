# SPDX-License-Identifier: Apache-2.0
"""How many guests fit: each in turn boots, a program in it takes four fifths of its memory and ends, until
one of them is killed. Test 1 of the series "Guest Free Page Hinting" (2018-19): 15 GB, guests of 5 GB."""
import pathlib
import sys
import time

from lib import figures, svg
from lib.lab import MIB, Agent, BenchError, Lab, Program
from lib.zram import Discount, Zram

RUNS = 1
SCALED = True
HOST_MIB, GUEST_MIB, TOUCHED_MIB = 15360, 5120, 4096
MOST = 100
BAR = 60
BOOT = 240  # s
# An idle guest lives on far less than the quarter that a guest is left by default.
CONFIG = """mode: reclaim
policy: {history_min: 0s}
hybrid: {min_memory: 2%}
"""
# Row: label, driver, reporting, swap, agent.
ROWS = {
    "nothing": ("no reporting", "stock", "off", False, False),
    "stock": ("stock virtio_balloon", "stock", "on", False, False),
    "stock_zram": ("stock, compressed swap, no agent", "stock", "on", True, False),
    "ours": ("ullage, hybrid, compressed swap", "ullage", "on", True, True),
}
HOW = ("guests of {guest} MiB and 1 vCPU, one after the other, on a memory cgroup of {host} MiB; in each a program "
       "takes {touched} MiB and ends; how many lived when the first was killed{capped}. With compressed swap the "
       "cgroup's limit is {host} MiB less what that takes itself")


def killed(cgroup):
    """How many processes the kernel has ended for want of memory in the host or a guest's cgroup."""
    total = 0
    for folder in (cgroup, *(child for child in cgroup.iterdir() if child.is_dir())):
        for name in ("memory.events", "memory.oom_control"):
            file = folder / name
            if file.exists():
                total += sum(int(line.split()[1]) for line in file.read_text(encoding="ascii").splitlines()
                             if line.startswith("oom_kill "))
    return total


def answers(lab, name):
    """Whether a program runs in it: one that is merely not dead is no guest."""
    try:
        Program(lab, name, "true", 120).ends()
        return True
    except (BenchError, OSError):
        return False


def launch(lab, name, driver, reporting, touched, guest):
    """The guest has booted, its program has taken its memory and ended; False: somebody was killed."""
    try:
        lab.guest(name, "--mem", guest, "--driver", driver, "--reporting", reporting, "--reclaim", "hybrid")
        lab.wait(name, BOOT)
        Program(lab, name, f"hog {touched}", BOOT).ends()
        return True
    except (BenchError, OSError) as error:
        print(f"guests: {name}: {error}"[:400], file=sys.stderr)
        return False


def fill(lab, row, guest, touched, most, discount, zram):
    _, driver, reporting, _, _ = ROWS[row]
    cgroup = pathlib.Path(lab.status()["cgroup"])
    names, curve = [], []
    began = time.monotonic()
    while len(names) < most:
        if discount is not None:
            discount.apply()
        name = f"g{len(names) + 1}"
        came_up = launch(lab, name, driver, reporting, touched, guest)
        if not came_up or killed(cgroup):
            if not killed(cgroup):
                raise BenchError(f"{row}: {name} did not come up and nobody was killed")
            break
        names.append(name)
        charge = sum(int(file.read_text(encoding="ascii")) for file in cgroup.glob("vm-*/memory.usage_in_bytes")) or \
            sum(int(file.read_text(encoding="ascii")) for file in cgroup.glob("vm-*/memory.current"))
        curve.append({"guests": len(names), "charged_mib": charge // MIB, "s": round(time.monotonic() - began, 1),
                      "zram_mib": (zram.used() if zram else 0) // MIB,
                      "swapped_mib": (zram.held() if zram else 0) // MIB})
        print(f"guests: {row}: {curve[-1]}", file=sys.stderr)
    mute = [name for name in names if not answers(lab, name)] if not killed(cgroup) else []
    return {"count": len(names) - len(mute), "mute": mute, "capped": len(names) == most, "curve": curve}


def column(row, scale, most):
    host, guest, touched = HOST_MIB // scale, GUEST_MIB // scale, TOUCHED_MIB // scale
    _, _, _, swap, agent = ROWS[row]
    with Lab(host) as lab:
        cgroup = pathlib.Path(lab.status()["cgroup"])
        limit = next(cgroup / name for name in ("memory.limit_in_bytes", "memory.max") if (cgroup / name).exists())
        if not swap:
            # Nobody swaps here, whatever swap the machine has.
            for name, value in (("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", str(host * MIB))):
                if (cgroup / name).exists():
                    (cgroup / name).write_text(value, encoding="ascii")
            return fill(lab, row, guest, touched, most, None, None)
        # It is what is compressed that counts: room for four times the host, which is more than that can hold.
        with Zram(4 * host) as zram, Discount(limit, host * MIB, zram) as discount:
            if not agent:
                return fill(lab, row, guest, touched, most, discount, zram)
            with Agent(lab, CONFIG):
                return fill(lab, row, guest, touched, most, discount, zram)


def measure(_runs, scale=1, rows=None):
    """`rows`: only these now, beside what was measured of the others before; a whole run takes hours."""
    kept = figures.kept("guests")["rows"] if rows and scale == 1 and figures.has("guests") else {}
    found = {row: kept[row] for row in ROWS if row in kept}
    for row in rows or ROWS:
        # Beyond twice stock's count a scaled run has shown what it is to show.
        most = MOST if scale == 1 or row != "ours" or "stock" not in found else 2 * found["stock"]["count"] + 2
        found[row] = {"run": figures.machine(), **column(row, scale, most)}
    data = {"scale": scale, "rows": {row: found[row] for row in ROWS if row in found}}
    if "ours" in found:
        say(data)
    return data


def say(data):
    scale, rows = data["scale"], data["rows"]
    words = {"guest": GUEST_MIB // scale, "host": HOST_MIB // scale, "touched": TOUCHED_MIB // scale,
             "capped": f" (or {MOST} were reached)" if any(row["capped"] for row in rows.values()) else ""}
    how = HOW.format(**words)
    suffix = "" if scale == 1 else f".scale_{scale}"
    ours = [rows["ours"]["count"]]
    others = {"": "stock", ".against_swap_alone": "stock_zram", ".against_nothing": "nothing"}
    for name, other in others.items():
        bar = ({"least": BAR} if scale == 1 else {"least_ratio": 2}) if not name else {}
        theirs = [rows[other]["count"]] if other in rows else [None]
        figures.say(f"guests{suffix}{name}", "guests", ours, theirs, how, **bar)


def draw(data, path):
    scale, rows = data["scale"], data["rows"]
    drawing = svg.Drawing(760, 300, f"Guests of {GUEST_MIB // scale} MiB on a host of {HOST_MIB // scale} MiB",
                          f"each boots, takes {TOUCHED_MIB // scale} MiB and gives it back, one after the other, until "
                          "one is killed; compressed swap counts as memory used", figures.caption(data))
    most = max(row["count"] for row in rows.values())
    chart = svg.Chart(drawing, (270, 60, 420, 150), (0, most * 1.1), (0, len(ROWS)))
    chart.x_axis("guests alive when the first was killed")
    for place, (name, (label, *_)) in enumerate(ROWS.items()):
        if name not in rows:
            continue
        y = len(ROWS) - place - 0.5
        chart.bar(rows[name]["count"], y, 22, svg.OURS if name == "ours" else svg.THEIRS)
        _, row = chart.at(0, y)
        drawing.text(262, row + 4, label, size=13, anchor="end")
        right, _ = chart.at(rows[name]["count"], y)
        drawing.text(right + 6, row + 4, f"{rows[name]['count']}{' and more' if rows[name]['capped'] else ''}", size=13)
    drawing.save(path)
