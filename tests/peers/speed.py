"""Times reid-run's training and inference steps beside PyTorch's, in turn, on this machine.

usage: speed.py STEPS [WORKLOAD ..]      STEPS: the built example of tests/benches/steps.rs

Both programs are started once per piece of work, then asked in turn for a few steps each. The ratio of a
pair is our time over PyTorch's; shown are the medians, and the 95 % bootstrap interval of the ratios' median.
"""

import pathlib
import statistics
import sys

from pairs import PAIRS, THREADS, Side, compare, interval

HERE = pathlib.Path(__file__).parent
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


def measure(name, steps):
    ours = Side(steps, name, THREADS)
    torch = Side(sys.executable, str(HERE / "steps.py"), name, THREADS)
    a, b, ratios, memory = compare(ours, torch)
    low, high = interval(ratios)
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
