"""Two programs that answer in turn how long a piece of work takes: what all timings beside peers share."""

import os
import random
import statistics
import subprocess

PAIRS = int(os.environ.get("PAIRS", 15))
THREADS = os.environ.get("THREADS") or str(len(os.sched_getaffinity(0)))
# Each answer is the mean of so many pieces of work that it takes about this long, in milliseconds.
LEAST = 1500


class Side:
    def __init__(self, *command):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.read() == "ready", command

    def read(self):
        return self.process.stdout.readline().strip()

    def ask(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return float(self.read())

    def end(self):
        self.process.stdin.close()
        peak = int(self.read())
        self.process.wait()
        return peak


def interval(values):
    """95 % bootstrap interval of the median."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[-51]


def enough(side, fewest):
    """Pieces of work that take about LEAST. Ever more of them: the first may have been waiting, done."""
    count = 1
    while (time := side.ask(count)) * count < LEAST / 4:
        count *= 2
    return max(fewest, round(LEAST / time))


def compare(ours, peer, fewest=1):
    """Medians of both, ratios of the pairs, peaks in MiB; of so many pieces of work an answer."""
    count = {side: enough(side, fewest) for side in (ours, peer)}
    pairs = []
    for i in range(PAIRS):
        order = (ours, peer) if i % 2 == 0 else (peer, ours)
        times = {side: side.ask(count[side]) for side in order}
        pairs.append((times[ours], times[peer]))
    a, b = (statistics.median(side) for side in zip(*pairs))
    return a, b, [a / b for a, b in pairs], (ours.end(), peer.end())
