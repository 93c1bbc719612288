"""Times reid-run's evaluation, clustering and re-ranking beside public implementations, in turn, on this machine.

usage: retrieval.py RETRIEVAL [WORK ..]      RETRIEVAL: the built example of tests/benches/retrieval.rs

Features are random around random centres, of length 1: people with an appearance of their own by every camera. Both
programs must find the same. Work that the other program cannot do in memory is timed alone.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from pairs import PAIRS, THREADS, interval

HERE = pathlib.Path(__file__).parent
WIDTH = 768
# Of a person's features around the centre, whose parts have a spread of 1.
SPREAD = 2.6
# Work, queries, gallery, people; whether the others can do it too, and in how many pairs at most.
WORK = {
    "rank_market": ("rank", 3368, 15913, 751, 15),
    "rank_msmt": ("rank", 11659, 82161, 3060, 0),
    "cluster_market": ("cluster", 0, 12936, 751, 15),
    "cluster_msmt": ("cluster", 0, 32621, 1041, 0),
    "cluster_100k": ("cluster", 0, 100000, 4000, 0),
    "rerank_market": ("rerank", 3368, 15913, 751, 15),
    "rerank_msmt": ("rerank", 11659, 82161, 3060, 0),
}


def plant(folder, queries, gallery, people):
    """People around centres, seen by six cameras that move everyone a little the same way."""
    draw = np.random.default_rng(0)
    n = queries + gallery
    pids, cameras = draw.integers(0, people, n), draw.integers(0, 6, n)
    centres = draw.standard_normal((people, WIDTH), np.float32)
    views = 0.3 * draw.standard_normal((6, WIDTH), np.float32)
    with open(folder / "query.f32", "wb") as query, open(folder / "gallery.f32", "wb") as rest:
        for first in range(0, n, 4096):
            at = slice(first, min(first + 4096, n))
            features = centres[pids[at]] + views[cameras[at]]
            features += SPREAD * draw.standard_normal(features.shape, np.float32)
            features /= np.linalg.norm(features, axis=1, keepdims=True)
            of_query = max(0, min(queries - first, len(features)))
            features[:of_query].astype("<f4").tofile(query)
            features[of_query:].astype("<f4").tofile(rest)
    np.stack([pids, cameras]).astype("<i8").tofile(folder / "labels.i64")
    (folder / "shape.txt").write_text(str(WIDTH))


class Program:
    def __init__(self, *command):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.line() == "ready", command

    def line(self):
        return self.process.stdout.readline().strip()

    def time(self):
        """Seconds of one piece of work."""
        print(1, file=self.process.stdin, flush=True)
        return float(self.line()) / 1e3

    def end(self):
        """What came out, and the peak in MiB."""
        self.process.stdin.close()
        found, peak = self.line(), int(self.line())
        self.process.wait()
        return found, peak


def measure(name, program):
    work, queries, gallery, people, most = WORK[name]
    with tempfile.TemporaryDirectory() as folder:
        plant(pathlib.Path(folder), queries, gallery, people)
        ours = Program(program, work, folder, THREADS)
        pairs = min(most, PAIRS)
        if pairs == 0:
            seconds = statistics.median(ours.time() for _ in range(3))
            found, peak = ours.end()
            print(f"{name:15}{seconds:9.2f}{'':36}{peak:8}   {found}", flush=True)
            return
        theirs = Program(sys.executable, str(HERE / "retrieval_peer.py"), work, folder, THREADS)
        # The first of each warms up.
        ours.time()
        taken = []
        for i in range(pairs):
            first, second = (ours, theirs) if i % 2 == 0 else (theirs, ours)
            times = {first: first.time(), second: second.time()}
            taken.append((times[ours], times[theirs]))
        (found, peak), (expected, their_peak) = ours.end(), theirs.end()
        ratios = [a / b for a, b in taken]
        low, high = interval(ratios)
        a, b = (statistics.median(side) for side in zip(*taken))
        print(
            f"{name:15}{a:9.2f}{b:9.2f}{statistics.median(ratios):9.3f}  {low:.3f} to {high:.3f}"
            f"{peak:8}{their_peak:8}{peak / their_peak:7.3f}   {found}",
            flush=True,
        )
        if found != expected:
            sys.exit(f"{name}: the others find something else: {expected}")


def main():
    program, *names = sys.argv[1:]
    print(f"up to {PAIRS} pairs, {THREADS} threads, features of {WIDTH}; seconds, peak RSS in MiB")
    print(f"{'':15}{'reid-run':>9}{'others':>9}{'ratio':>9}  {'95 % of it':14}{'RSS':>8}{'others':>8}{'ratio':>7}")
    for name in names or WORK:
        measure(name, program)


main()
