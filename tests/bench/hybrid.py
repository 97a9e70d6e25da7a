# SPDX-License-Identifier: Apache-2.0
"""Hybrid reclaim by the whole agent: what guests give and what they notice, how soon they have it back, when
promising stops, a balloon that nobody fills, and limits after a crash."""
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from lib import figures, lab, svg
from lib.lab import MIB, ROOT, Agent, BenchError, Lab, Program, Stream, call, end
from lib.zram import Discount, Zram

RUNS = 3
GUESTS, GUEST_MIB, HOT_MIB, COLD_MIB = 3, 768, 64, 400
COLD_HOST_MIB, SHORT_HOST_MIB = 3072, 1536
CONTROL = "control"
LOOK = 60  # s of the hot loop before
LEAST = 180  # s: a probe calls cold what was not touched for 120 s
QUIET = 90  # s in which nothing more is taken: who missed some pages is left alone for a minute
LONGEST = 600  # s until it is
WANT_MIB, USED_MIB, LEFT_MIB = 256, 384, 450
BACK_BAR, LOOP_BAR, GRANT_BAR, HOLD_BAR, GIVE_UP_BAR, LIMIT_BAR = 0.6, 1.01, 1, 2, 15, 20
# Guests are believed at once, and the capacity follows what is left: the marks are what is looked at.
POLICY = ("mode: reclaim\npolicy: {history_min: 0s, growth: 0%, rise_delay: 0s, rise_step: 100%, ratio_cap: 1000%, "
          "quantum: 16MiB}\n")
COLD_CONFIG = POLICY + "hybrid: {page_out: 5%}\n"
SHORT = (f"a guest of {GUEST_MIB} MiB on a memory cgroup of {SHORT_HOST_MIB} MiB whose compressed swap counts; a process of "
         "the host takes locked memory; ")
TENANT = """
import mmap, sys, time
held = []
for line in sys.stdin:
    if int(line) == 0:
        held.clear()
    else:
        held.append(mmap.mmap(-1, int(line), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE | 0x2000))
    print(time.monotonic(), flush=True)
"""


class Tenant:
    """A process of the host that takes memory, locked: it is the guests that have to give."""

    def __init__(self, cgroup):
        self.folder = pathlib.Path(cgroup, "tenant")

    def __enter__(self):
        self.folder.mkdir()
        self.process = subprocess.Popen([sys.executable, "-c", TENANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True)
        (self.folder / "cgroup.procs").write_text(str(self.process.pid), encoding="ascii")
        return self

    def __exit__(self, *_):
        end(self.process)
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:  # EBUSY for a moment
                time.sleep(0.1)
        return None

    def take(self, size):
        """When (time.monotonic()) it had its last page."""
        self.process.stdin.write(f"{int(size) // 4096 * 4096}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise BenchError("the host's process has died")
        return float(line)

    def give_back(self):
        return self.take(0)


class Host:
    """A lab with compressed swap that is part of its memory."""

    def __init__(self, mib, load):
        self.mib, self.load = mib, load

    def __enter__(self):
        self.zram = Zram(2 * self.mib)
        self.lab = Lab(self.mib)
        self.zram.__enter__()
        try:
            self.lab.__enter__()
        except BaseException:
            self.zram.__exit__()
            raise
        self.cgroup = pathlib.Path(self.lab.status()["cgroup"])
        limit = next(self.cgroup / name for name in ("memory.limit_in_bytes", "memory.max")
                     if (self.cgroup / name).exists())
        self.discount = Discount(limit, self.mib * MIB, self.zram)
        self.discount.__enter__()
        return self

    def __exit__(self, *_):
        self.discount.__exit__()
        self.lab.__exit__()
        self.zram.__exit__()

    def guests(self, names, hot, cold, **options):
        """Booted, and a program in each has touched its memory."""
        words = {"--driver": "ullage", "--reporting": "on", "--reclaim": "hybrid"}
        for name in names:
            more = {**words, **options.get(name, {})}
            self.lab.guest(name, "--mem", GUEST_MIB, "--add", self.load, *itertools.chain(*more.items()))
        for name in names:
            self.lab.wait(name)
            Program(self.lab, name, f"load hot {hot} {cold} /tmp/hot /tmp/wake >/tmp/load.log 2>&1 & "
                    "while ! grep -q touched /tmp/hot; do sleep 1; kill -0 $! || exit 1; done 2>/dev/null").ends()

    def charge(self, name):
        return int(self.lab.charge_file(name).read_text(encoding="ascii"))


def say(text):
    print(f"hybrid: {text}", file=sys.stderr)


def term(snapshot, name):
    """A term of the sum, in bytes; absent while the host or a guest is unknown."""
    terms = snapshot.get("capacity", {}).get("terms")
    return int(terms[name]) if terms else None


def short_by(tenant, stream, share):
    """Takes what leaves that share of the buffer; until when it had it."""
    _, now = stream.wait(lambda one: term(one, "available"), 30, "the capacity is unknown")
    return tenant.take(max(term(now, "available") - share * term(now, "buffer"), 4096))


def about(snapshot):
    """What it says of the one guest."""
    return snapshot["vms"].get("vm", {})


def acts(snapshot, uuid):
    return [action for action in snapshot.get("actions", []) if action["uuid"] == uuid]


# What is cold is given back, and a loop on the rest.

def passes(host, name):
    """The ms of each pass over the hot set so far, but the last."""
    words = host.lab.command("exec", name, "--timeout", 120, "--", "cat /tmp/hot").split()
    return [float(word) for word in words[1:-1] if word[0].isdigit()]


def give(load):
    names = [f"g{number}" for number in range(GUESTS)]
    with Host(COLD_HOST_MIB, load) as host:
        everyone = [*names, CONTROL]
        host.guests(everyone, HOT_MIB, COLD_MIB, **{CONTROL: {"--reclaim": "off"}})
        time.sleep(LOOK + 5)
        before, first = sum(host.charge(name) for name in names), {name: len(passes(host, name)) for name in everyone}
        # Discarded: what reading the passes itself costs the guest.
        skip = {name: len(passes(host, name)) for name in everyone}
        with Agent(host.lab, COLD_CONFIG):
            began = quiet = time.monotonic()
            least, curve = before, []
            while time.monotonic() - quiet < QUIET or time.monotonic() - began < LEAST:
                if time.monotonic() - began > LONGEST:
                    break
                time.sleep(5)
                now = sum(host.charge(name) for name in names) + host.zram.used()
                curve.append([round(time.monotonic() - began, 1), now // MIB])
                # A few MiB are noise.
                if now < least - (GUESTS * COLD_MIB * MIB) // 50:
                    least, quiet = now, time.monotonic()
        after = sum(host.charge(name) for name in names) + host.zram.used()
        ratios = {}
        for name in everyone:
            every = passes(host, name)
            ratios[name] = (statistics.median(every[skip[name]:]) /
                            statistics.median(every[max(0, first[name] - 10 * LOOK):first[name]]))
        slower = [ratios[name] / ratios[CONTROL] for name in names]
        say(f"{before // MIB} -> {after // MIB} MiB, zram {host.zram.used() // MIB}; loop {ratios}; {curve}")
        return {"back_mib": (before - after) / MIB, "slower": slower, "ratios": ratios, "curve": curve}


# Nothing more is published once what is left crosses the mark.

def hold(load, runs):
    took = []
    with Host(SHORT_HOST_MIB, load) as host:
        host.guests(["a", "b"], 16, 64)
        with Agent(host.lab, POLICY) as agent, Stream(agent) as stream, Tenant(host.cgroup) as tenant:
            for _ in range(runs):
                stream.wait(lambda one: int(one["capacity"]["additional"]) > 0, 120, "nothing is ever promised")
                time.sleep(3)
                short_by(tenant, stream, 1.4)
                time.sleep(3)
                stream.wait(lambda one: int(one["capacity"]["additional"]) > 0, 60, "nothing is promised above the mark")
                at = short_by(tenant, stream, 0.9)
                shown, _ = stream.wait(lambda one: one["capacity"]["published"] == one["capacity"]["granted"], 60,
                                       "it goes on publishing", at)
                took.append(shown - at)
                say(f"nothing published after {took[-1]:.2f} s")
                tenant.give_back()
    return took


# A balloon that nobody fills: that of a guest whose kernel has died. In its first minute one that says nothing is not
# asked, nor at any time one without a driver.

BOOTS = 65  # s

def give_up(load):
    with Host(SHORT_HOST_MIB, load) as host:
        host.guests(["vm"], 16, COLD_MIB)
        host.lab.command("exec", "vm", "--", "echo 0 >/proc/sys/kernel/panic; "
                         "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
        with Agent(host.lab, POLICY) as agent, Stream(agent) as stream, Tenant(host.cgroup) as tenant:
            _, now = stream.wait(lambda one: "resident" in about(one), 30, "what it holds is unknown")
            uuid = about(now)["uuid"]
            time.sleep(BOOTS)
            begun = short_by(tenant, stream, 0.45)
            wished, _ = stream.wait(lambda one: any(act["kind"] == "set-balloon" for act in acts(one, uuid)), 60,
                                    "its balloon is not asked for", begun)
            # Left alone: said so, or its memory is taken in the next way.
            ended, line = stream.wait(lambda one: any(
                act["kind"] == "page-out" or "no progress" in act["reason"] for act in acts(one, uuid)), 120,
                "its balloon is asked for again and again", wished)
            say(f"its balloon is left alone after {ended - wished:.2f} s: {acts(line, uuid)[0]['reason']}")
            return ended - wished


# Limits after kill -9.

def limit_file(host, name):
    folder = host.lab.charge_file(name).parent
    return next(folder / one for one in ("memory.high", "memory.limit_in_bytes") if (folder / one).exists())


def until(true_now, patience, what, every=0.02):
    deadline = time.monotonic() + patience
    while not true_now():
        if time.monotonic() > deadline:
            raise BenchError(what)
        time.sleep(every)
    return time.monotonic()


def unlimit(load):
    with Host(SHORT_HOST_MIB, load) as host:
        host.guests(["vm"], 16, COLD_MIB)
        file = limit_file(host, "vm")
        was = file.read_text(encoding="ascii")
        with Agent(host.lab, POLICY) as agent, Tenant(host.cgroup) as tenant:
            with Stream(agent) as stream:
                stream.wait(lambda one: "resident" in about(one), 30, "what it holds is unknown")
                short_by(tenant, stream, 0.24)
                until(lambda: file.read_text(encoding="ascii") != was, 60, "the policy sets no limit")
            stands = int(file.read_text(encoding="ascii")) // MIB
            agent.process.kill()
            at = time.monotonic()
            took = until(lambda: file.read_text(encoding="ascii") == was, 120, "its limit stays") - at
            say(f"the limit of {stands} MiB is gone after {took:.2f} s")
            return took


# A squeezed guest needs its memory.

def takes(host, name):
    """(s until a program there has touched its memory, s by its own clock)."""
    program = Program(host.lab, name, f"hog {WANT_MIB}")
    at = time.monotonic()
    took = program.says("touched") - at
    program.ends()
    return took, float(program.exchange.pending.decode(errors="replace").partition(" MiB in ")[2].split()[0])


def wake(load):
    """What `takes` says of a squeezed guest, and of it before."""
    with Host(SHORT_HOST_MIB, load) as host:
        # What its programs gave back its host still holds: that is what a balloon can take. A kernel that zeroes what
        # a balloon gets would fault in what of it went to swap, and be needy.
        host.guests(["vm"], 16, 128, vm={"--driver": "stock", "--reporting": "off", "--cmdline": "init_on_alloc=0"})
        free = takes(host, "vm")
        Program(host.lab, "vm", f"hog {USED_MIB}").ends()
        with Agent(host.lab, POLICY) as agent, Stream(agent) as stream, Tenant(host.cgroup) as tenant:
            deadline = time.monotonic() + 180
            while True:
                _, now = stream.wait(lambda one: about(one).get("guestBalloon"), 30, "its balloon is unknown")
                left = int(about(now)["guestBalloon"]) // MIB
                if left <= LEFT_MIB:
                    break
                if time.monotonic() > deadline:
                    raise BenchError(f"it is not squeezed: {about(now)}")
                # Whatever the guest gives it takes as well.
                short_by(tenant, stream, 0.24)
                time.sleep(2)
            tenant.give_back()
            squeezed = takes(host, "vm")
            say(f"its balloon left {left} MiB: {WANT_MIB} MiB for a program after {squeezed} s, before {free} s")
            return squeezed, free


def measure(runs):
    lab.build("ullage-lease")
    with tempfile.TemporaryDirectory(prefix="ullage-bench.") as folder:
        load = pathlib.Path(folder, "load")
        call(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", load,
              ROOT / "tests/bench/guest/load.c"])
        held = hold(load, runs)
        gave_up = [give_up(load) for _ in range(runs)]
        unlimited = [unlimit(load) for _ in range(runs)]
        squeezed, free = zip(*(wake(load) for _ in range(runs)))
        given = give(load)
    figures.say("hybrid.given_back", "MiB", [given["back_mib"]], [GUESTS * COLD_MIB],
                f"{GUESTS} hybrid guests of {GUEST_MIB} MiB on a memory cgroup of {COLD_HOST_MIB} MiB with compressed swap, that "
                f"counts; each with a pass over {HOT_MIB} MiB every 100 ms, and {COLD_MIB} MiB that it touched once; "
                "hybrid.page_out is 5 %", least_ratio=BACK_BAR)
    figures.say("hybrid.loop", "of its time before", given["slower"], [1.0] * GUESTS,
                f"each of these guests: the median pass from the agent's start until all is taken, through that of {LOOK} s "
                "before, and that through the same of a guest beside them that is left alone", most_ratio=LOOP_BAR)
    figures.say("hybrid.grant", "s", [one for one, _ in squeezed], [one for one, _ in free],
                SHORT + f"its balloon is filled; that memory comes free and a program in the guest takes {WANT_MIB} "
                "MiB: until it has touched them; beside the same guest before it was squeezed", bar=GRANT_BAR)
    figures.say("hybrid.grant.inside", "s", [one for _, one in squeezed], [one for _, one in free],
                "the same by the program's own clock")
    figures.say("hybrid.hold", "s", held, [], SHORT + "once the mark is crossed, from its last page until ullagectl top shows "
                "nothing more published", bar=HOLD_BAR, every=True)
    figures.say("hybrid.give_up", "s", gave_up, [], SHORT + "from the first wish to a guest whose kernel has died until its balloon "
                "is left alone", bar=GIVE_UP_BAR, every=True)
    figures.say("hybrid.unlimit", "s", unlimited, [], SHORT + "the policy has set a limit; from kill -9 of the agent until the "
                "cgroup's file is as before", bar=LIMIT_BAR, every=True)
    return {"given": given, "squeezed": squeezed, "free": free, "hold": held, "give_up": gave_up, "unlimit": unlimited}


def draw(data, path):
    given = data["given"]
    drawing = svg.Drawing(760, 320, "Hybrid reclaim by the whole agent, on real guests",
                          "the line is what is allowed; each dot a run", figures.caption(data))
    rows = [(f"{WANT_MIB} MiB for a squeezed guest", [one for one, _ in data["squeezed"]], GRANT_BAR),
            ("nothing more promised", data["hold"], HOLD_BAR),
            ("a balloon nobody fills", data["give_up"], GIVE_UP_BAR),
            ("limits gone after kill -9", data["unlimit"], LIMIT_BAR)]
    chart = svg.Chart(drawing, (230, 60, 380, 140), (0, 1.5), (0, len(rows)))
    chart.x_axis("of the time that is allowed")
    for place, (label, seconds, bar) in enumerate(rows):
        y = len(rows) - place - 0.5
        _, row = chart.at(0, y)
        drawing.text(222, row + 4, label, size=13, anchor="end")
        present = [one for one in seconds if one is not None]
        for one in present:
            chart.dot(min(one / bar, 1.5), y, svg.OURS)
        worst = f"{max(present):.2g}" if present else "never"
        drawing.text(622, row + 4, f"{worst} of {bar} s", svg.INK, size=13)
    words = (f"{given['back_mib']:.0f} of {GUESTS * COLD_MIB} cold MiB given back (bar {BACK_BAR:.0%}); the loop on what is hot takes "
             f"{statistics.median(given['slower']):.3f} of its time (bar {LOOP_BAR})")
    drawing.text(20, 270, words, svg.OURS, size=13)
    drawing.save(path)
