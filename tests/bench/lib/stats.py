# SPDX-License-Identifier: Apache-2.0
"""The benches' arithmetic; tests/bench/selftest checks it."""
import math
import statistics

# Student's t, 97.5 %, by degrees of freedom; beyond these the normal distribution's.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
      2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def percentile(samples, share):
    """The smallest sample that is not exceeded by at least `share` of all (nearest rank)."""
    if not samples or not 0 < share <= 1:
        raise ValueError("a share of nothing")
    # A share of 0.99 of 100 is the 99th, whatever a binary fraction makes of it.
    return sorted(samples)[math.ceil(round(share * len(samples), 9)) - 1]


def paired_ratio(ours, theirs):
    """(ratio, low, high): the geometric mean of ours/theirs by pairs and its 95 % interval."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), None, None
    t = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else 1.96
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def without_omission(samples, period, begin, end):
    """Latencies of what was due between two moments, once each `period`. Whoever asks one after the other
    asks nothing while he waits: what he would have asked then, and how long it would have waited, is added
    to the (begin, latency) that he measured."""
    found = []
    for at, latency in samples:
        while latency > 0:
            if begin <= at < end:
                found.append(latency)
            at, latency = at + period, latency - period
    return found
