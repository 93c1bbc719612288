"""Times reid-run's training and inference steps beside PyTorch's, in turn, on this machine.

usage: speed.py STEPS [WORKLOAD ..]      STEPS: the built example of tests/benches/steps.rs

Both programs are started once per piece of work, then asked in turn for a few steps each. The ratio of a
pair is our time over PyTorch's; shown are the medians, and the 95 % bootstrap interval of the ratios' median.
"""

import os
import pathlib
import random
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PAIRS = int(os.environ.get("PAIRS", 15))
THREADS = os.environ.get("THREADS") or str(len(os.sched_getaffinity(0)))
WORK = [
    "vit_small_train",
    "vit_small_recompute",
    "vit_tiny_train",
    "vit_small_features",
    "vit_base_features",
    "person_mae_50",
    "person_mae_75",
    "micro_person_mae",
]
# Each answer is the mean of so many steps that it takes about this long, in milliseconds.
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
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[-51]


def measure(name, steps):
    ours = Side(steps, name, THREADS)
    torch = Side(sys.executable, str(HERE / "steps.py"), name, THREADS)
    count = [max(1, round(LEAST / side.ask(1))) for side in (ours, torch)]
    pairs = []
    for i in range(PAIRS):
        first, second = (ours, torch) if i % 2 == 0 else (torch, ours)
        times = {side: side.ask(count[side is torch]) for side in (first, second)}
        pairs.append((times[ours], times[torch]))
    ratios = [a / b for a, b in pairs]
    low, high = interval(ratios)
    a, b = (statistics.median(side) for side in zip(*pairs))
    memory = ours.end(), torch.end()
    print(
        f"{name:20}{a:9.1f}{b:10.1f}{statistics.median(ratios):8.2f}  {low:.2f} to {high:.2f}"
        f"{memory[0]:8}{memory[1]:7}{memory[0] / memory[1]:7.2f}",
        flush=True,
    )


def main():
    steps, *names = sys.argv[1:]
    print(f"{PAIRS} pairs, {THREADS} threads, f32; ms per step, peak RSS in MiB")
    print(f"{'':20}{'reid-run':>9}{'PyTorch':>10}{'ratio':>8}  {'95 % of it':12}{'RSS':>8}{'PyTorch':>8}{'ratio':>6}")
    for name in names or WORK:
        measure(name, steps)


main()
