# SPDX-License-Identifier: Apache-2.0
"""What a process uses, from its own files in /proc."""
import os
import pathlib
import time

HZ = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """utime + stime. The command's name may hold anything but ends at the last ')'."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    fields = fields.split()
    return (int(fields[11]) + int(fields[12])) / HZ


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
