# SPDX-License-Identifier: GPL-2.0
"""A guest under load on all CPUs while everything that the driver can do happens, in random order.

Each CPU runs stress.c, which compares what it has in memory before it gives it back: a page that
was shown to the host while in use would be found there."""

import os
import random
import re
import time

from guest import MODULE_DIR, time_return

MIB = 1 << 20
WORKER_MIB = 110
MODULE = "/sys/module/ullage_balloon"
DRIVER = "/sys/bus/virtio/drivers/ullage_balloon"
# Nothing holds reporting back; looking for residue is on, in the pauses.
FULL_SPEED = {"settle_ms": 0, "pass_delay_ms": 0, "cpu_permille": 0, "batch_mib": 0, "backoff": 0,
              "rate_mib_s": 0, "floor_mib": 0, "host_page_kib": 4, "compact_mib": 1}
# Written in between, one at a time; back at FULL_SPEED's or the default afterwards.
WRITES = [("order", 1), ("order", 5), ("order", 10), ("reporting", 0), ("early_start", 0),
          ("floor_mib", 100000), ("rate_mib_s", 20), ("settle_ms", 50), ("pass_delay_ms", 500),
          ("cpu_permille", 1), ("reserve_mib", 64), ("fast_balloon", 0), ("cache_trim", 2)]


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def event_names():
    """The counters that only rise; what else there is to be read may fall."""
    with open(os.path.join(MODULE_DIR, "ullage.h"), encoding="ascii") as file:
        table = re.search(r"#define ULLAGE_COUNTERS\(X\)((?:.*\\\n)*.*\n)", file.read()).group(1)
    return set(re.findall(r"X\((\w+), \w+\)", table))


class Soak:
    def __init__(self, g, suspend):
        self.g, self.suspend = g, suspend
        self.events = event_names()
        self.seen = {}
        self.reported = 0
        self.done = {}
        self.compacted = []

    def meminfo(self, name):
        return int(self.g.must(f"awk '/^{name}:/{{print $2}}' /proc/meminfo")) // 1024

    def summary(self):
        lines = self.g.must(f"cat {MODULE}/summary").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def counters_rise(self):
        now = self.summary()
        fell = [n for n in self.events & now.keys() if now[n] < self.seen.get(n, 0)]
        check(not fell, f"fell: {[(n, self.seen[n], now[n]) for n in fell]}")
        check(self.events & now.keys(), "no counter that is known")
        check(now["in_flight_pages"] <= self.g.mib * 256, "more in flight than there is")
        check(now["report_errors"] == now["host_timeouts"] == 0, "the host failed")
        self.seen = now

    def forget(self):
        """Another binding counts from zero."""
        self.counters_rise()
        self.reported += self.seen["reported_bytes"]
        self.seen = {}

    def load(self):
        self.g.must("insmod /modules/ullage_balloon.ko")
        self.full_speed()

    def full_speed(self):
        self.g.must("; ".join(f"echo {value} > {MODULE}/parameters/{name}"
                              for name, value in FULL_SPEED.items()))

    # ---- what happens under load ----

    def run_free(self):
        # With a large balloon the workers leave nothing that the core may isolate.
        self.g.qmp("balloon", value=self.g.mib * MIB)
        before = self.summary()["reports"]
        time.sleep(1)
        deadline = time.monotonic() + 20
        while self.summary()["reports"] == before:
            check(time.monotonic() < deadline, "nothing is reported at full speed: " +
                  self.g.must(f"cat {MODULE}/summary /proc/buddyinfo; grep -E '^Mem' /proc/meminfo"))
            time.sleep(0.2)

    def balloon(self):
        self.g.qmp("balloon", value=(self.g.mib - random.choice((0, 64, 128, 200))) * MIB)

    def write(self):
        name, value = random.choice(WRITES)
        path = f"{MODULE}/parameters/{name}"
        old = self.g.must(f"cat {path}")
        self.g.must(f"echo {value} > {path}; usleep 300000; echo {old} > {path}")

    def rebind(self):
        self.forget()
        for _ in range(random.choice((1, 3))):
            self.g.must(f"echo virtio0 > {DRIVER}/unbind; echo virtio0 > {DRIVER}/bind", timeout=60)

    def reload(self):
        self.forget()
        self.g.must("rmmod ullage_balloon", timeout=60)
        if random.random() < 0.3:
            self.g.must("insmod /modules/virtio_balloon.ko; sleep 1; rmmod virtio_balloon",
                        timeout=60)
        self.load()

    def reclaim(self):
        """Compaction under load, on a machine that emulates it, may take a minute."""
        before, start = self.summary()["migrated_pages"], time.monotonic()
        # Should it hang: who waits for what.
        mark = f"/run/reclaim.{len(self.compacted)}"
        self.g.must(f"touch {mark}; ( sleep 200; [ ! -e {mark} ] || echo w > /proc/sysrq-trigger )"
                    " >/dev/null 2>&1 & true")
        self.g.must(f"echo 1 > /proc/sys/vm/compact_memory; rm {mark};"
                    " echo 1 > /proc/sys/vm/drop_caches", timeout=300)
        self.compacted.append((round(time.monotonic() - start),
                               self.summary()["migrated_pages"] - before))

    def pause(self):
        """An idle guest is looked through for residue."""
        # A forked copy may be gone between being found and being stopped.
        self.g.run("killall -STOP stress; sleep 3; killall -CONT stress")

    def sleep_and_wake(self):
        self.suspend(self.g)

    # ---- from start to end ----

    def workers(self):
        return int(self.g.must("pidof stress | wc -w"))

    def run(self, seconds):
        g = self.g
        status, said = g.run("/stress -x")
        check(status == 1 and "CORRUPT" in said, f"a dropped page is not found: {status} {said}")
        self.load()
        g.must("echo 3 > /proc/sys/vm/drop_caches")
        total, free = self.meminfo("MemTotal"), self.meminfo("MemFree")
        cpus = int(g.must("nproc"))
        g.must(f"cpu=0; while [ $cpu -lt {cpus} ]; do /stress $cpu {WORKER_MIB}"
               " > /run/stress.$cpu 2>&1 & cpu=$((cpu + 1)); done; true")

        actions = 3 * [self.run_free] + 3 * [self.balloon] + 3 * [self.write] + 2 * [
            self.rebind, self.reload] + [self.reclaim, self.pause, self.sleep_and_wake]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or len(self.done) < len(set(actions)):
            # Each of them once in a short run, too.
            action = random.choice([a for a in set(actions) if a.__name__ not in self.done] or actions)
            self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            action()
            self.counters_rise()
            # A forked copy has the same name.
            check(self.workers() >= cpus, "a worker is gone: " + g.must("cat /run/stress.*"))
            check("Kernel panic" not in g.console(), "the guest panicked")

        g.must("touch /run/stop; while pidof stress >/dev/null; do usleep 100000; done", timeout=120)
        said = g.must("cat /run/stress.*").splitlines()
        check(len(said) == cpus and all(line.startswith("ok ") for line in said), f"workers: {said}")
        mib = sum(int(line.split()[3]) for line in said)
        self.forget()
        self.comes_to_rest(total, free)
        actions = ", ".join(f"{n} {name}" for name, n in sorted(self.done.items()))
        return (f"{mib} MiB written and compared by {cpus} CPUs, {self.reported // MIB} MiB reported"
                f" meanwhile; {actions}; seconds and balloon pages of compactions: {self.compacted}")

    def comes_to_rest(self, total, free):
        g = self.g
        g.qmp("balloon", value=g.mib * MIB)
        deadline = time.monotonic() + 60
        while self.summary()["balloon_pages"] or self.summary()["in_flight_pages"]:
            check(time.monotonic() < deadline, "the balloon does not empty itself")
            time.sleep(0.2)
        g.must("echo 3 > /proc/sys/vm/drop_caches; sleep 1; echo 3 > /proc/sys/vm/drop_caches")
        check(self.meminfo("MemTotal") == total, f"MemTotal {total} -> {self.meminfo('MemTotal')} MiB")
        left = self.meminfo("MemFree")
        check(left > free - 32, f"MemFree {free} -> {left} MiB")
        # Dropped pages hold zeroes, so QEMU drops none of a guest that wants another pattern.
        if g.run("grep -q page_poison=1 /proc/cmdline")[0] == 0:
            return
        times, mib = time_return(g, "/hog 300", wait=10)
        check(mib > 200 and times[0.8] is not None, f"80 % of {mib} MiB did not come back")
