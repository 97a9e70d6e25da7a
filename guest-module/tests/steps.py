# SPDX-License-Identifier: GPL-2.0
"""Named checks in a guest that are counted, and what they have in common."""

import re
import subprocess
import sys
import time
import traceback

BAD_LOG = re.compile(r"WARNING:|BUG:|Oops|Call Trace|INFO: task|lockdep|general protection|"
                     r"Bad page|corruption|scheduling while atomic|rcu.*stall|Unable to handle")


class Skip(Exception):
    """This machine or kernel cannot run the test."""


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def wait_for(what, condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not condition():
        check(time.monotonic() < deadline, f"not within {timeout} s: {what}")
        time.sleep(0.1)


class Steps:
    """Named checks in one guest; each counts, and a failed one does not stop the next."""

    def __init__(self, name, word):
        self.name, self.word = name, word
        self.passed = self.failed = self.skipped = 0

    def report(self, verdict, step, note=""):
        print(f"{verdict:7} {self.name}: {step}{': ' + note if note else ''}", flush=True)

    def __call__(self, step, function, *args, tries=1):
        if self.word and self.word not in f"{self.name}: {step}":
            return
        for left in range(tries - 1, -1, -1):
            try:
                note = function(*args)
                self.passed += 1
                return self.report("ok", step, note or "")
            except Skip as reason:
                self.skipped += 1
                return self.report("skipped", step, str(reason))
            except AssertionError as error:
                if not left:
                    self.failed += 1
                    return self.report("FAILED", step, str(error))
                self.report("again", step, str(error))
            except (RuntimeError, OSError) as error:
                self.failed += 1
                traceback.print_exc()
                return self.report("FAILED", step, str(error))

    def timed(self, step, function, *args):
        """A check that measures time: a busy machine may spoil it once, a fault does so twice."""
        self(step, function, *args, tries=2)


def clean_log(g):
    bad = [line for line in g.console().splitlines() if BAD_LOG.search(line)]
    check(not bad, "the guest's log has: " + " | ".join(bad[:4]))
    check(g.process.poll() is None, "QEMU ended")


def default_version():
    text = subprocess.run(["dpkg-query", "-W", "-f", "${Depends}", "linux-headers-cloud-amd64"],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False).stdout
    match = re.search(r"linux-headers-([0-9][^\s,]*)", text)
    if not match:
        sys.exit("linux-headers-cloud-amd64 is not installed; name a --kernel")
    return match.group(1)
