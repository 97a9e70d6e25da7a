# SPDX-License-Identifier: Apache-2.0
"""What a process uses, from its own files in /proc."""
import mmap
import os
import pathlib
import statistics
import time

HZ = os.sysconf("SC_CLK_TCK")
HUGE_PAGE = 2 << 20


def _stat(pid):
    """From the state on. The command's name may hold anything but ends at the last ')'."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def cpu_seconds(pid):
    """utime + stime."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / HZ


def minor_faults(pid):
    return int(_stat(pid)[7])


def thread_seconds(pid, thread):
    """CPU time of one thread, to the nanosecond."""
    return int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def huge_fault_seconds(mib=512, rounds=5):
    """CPU time of one fault in memory like a guest's: on huge pages, given up before. The median round."""
    with mmap.mmap(-1, (mib << 20) + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        costs = []
        for _ in range(rounds):
            memory.madvise(mmap.MADV_DONTNEED)
            counted, began = minor_faults(os.getpid()), time.thread_time()
            for offset in range(0, mib << 20, HUGE_PAGE):
                memory[offset] = 1
            costs.append((time.thread_time() - began) / (minor_faults(os.getpid()) - counted))
    return statistics.median(costs)


def memory(pid):
    """MiB: VmRSS and VmHWM of status, Pss and what is the process's own of smaps_rollup."""
    found = {}
    for name in ("status", "smaps_rollup"):
        for line in pathlib.Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8").splitlines():
            key, _, rest = line.partition(":")
            words = rest.split()
            if len(words) == 2 and words[1] == "kB":
                found[key] = int(words[0]) / 1024
    return {"VmRSS": found["VmRSS"], "VmHWM": found["VmHWM"], "Pss": found["Pss"],
            "own": found["Private_Dirty"] + found["Private_Clean"]}


class Window:
    """CPU shares (per cent of one core) of groups of processes over a stretch of time."""

    def __init__(self, groups):
        self.groups = groups
        self.began = time.monotonic()
        self.before = {name: self._sum(pids) for name, pids in groups.items()}

    @staticmethod
    def _sum(pids):
        return sum(cpu_seconds(pid) for pid in pids)

    def shares(self):
        wall = time.monotonic() - self.began
        return {name: 100 * (self._sum(pids) - self.before[name]) / wall
                for name, pids in self.groups.items()}
