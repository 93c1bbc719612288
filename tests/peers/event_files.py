"""Runs a small spec and has TensorBoard read its curves: tags, steps, times and values are those of the Parquet files.

Usage: event_files.py PROGRAM

Not called tensorboard.py, as which Python would import it in TensorBoard's place.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SPEC = """
name: curves
data: {synthetic: {size: [32, 16], train_identities: 6, validation_identities: 2, test_identities: 6,
                   images_per_identity: 4, cameras: 2}}
backbone: {vit: {size: micro, image: [32, 16], patch: 8}}
pretrain:
  objective: {person_mae: {pixel_decoder: {depth: 1, width: 32, heads: 1},
                           feature_decoder: {depth: 1, width: 32, heads: 1}}}
  train: {epochs: 2, batch: 16, lr: 1.0e-3, lr_scaling: none, evaluate_every: {epochs: 1}}
protocol:
  supervised:
    train: {epochs: 2, batch: 8, lr: 0.01, schedule: {warmup_cosine: {}}}
    identities_per_batch: 4
    augment: {pad: 2}
sweep: {list: [{}, {pretrain.objective: none, label: "none: 1/2"}]}
"""


def curves(folder):
    """What TensorBoard makes of a folder: time, step and value of every point, by tag."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.wall_time, e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def recorded(rows):
    """Points of step rows, by tag."""
    found = {}
    for stage, metric, step, value, at in rows.iter_rows():
        found.setdefault(f"{stage}/{metric}", []).append((at / 1e6, step, float(np.float32(value))))
    return found


def event_file(folder):
    """The only file in a folder."""
    files = list(folder.iterdir())
    assert len(files) == 1, f"{folder}: {files}"
    return files[0]


def compare(what, found, expected):
    assert found.keys() == expected.keys(), f"{what}: tags {sorted(found.keys() ^ expected.keys())}"
    for tag, points in expected.items():
        assert np.array_equal(found[tag], points, equal_nan=True), f"{what}: {tag} is {found[tag]}, not {points}"
    print(f"{what}: {len(found)} curves, {sum(map(len, found.values()))} points")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "curves.yaml").write_text(SPEC)
        homes = {f"XDG_{name}_HOME": str(root / name.lower()) for name in ("CONFIG", "STATE", "CACHE")}

        def run(*arguments):
            subprocess.run([program, *arguments], cwd=root, env=os.environ | homes, check=True)

        run("curves.yaml", "--out", "store", "--tensorboard", "live", "--quiet")
        run("tensorboard", "curves.yaml", "--out", "store", "--to", "exported", "--quiet")
        columns = ["stage", "metric", "step", "value", pl.col("at").dt.timestamp("us")]
        folders = {event_file(path).name.rsplit(".", 1)[1]: path for path in (root / "exported").iterdir()}
        stages = {}
        runs = sorted((root / "store/results/runs").glob("*.parquet"))
        assert len(runs) == len(folders) == 2, f"{len(runs)} runs, {sorted(folders)}"
        for file in runs:
            steps = pl.read_parquet(root / "store/results/metrics" / file.name)
            stages |= {key: steps.filter(pl.col("stage_key") == key) for key in steps["stage_key"].unique()}
            expected = recorded(steps.select(columns))
            at, step = steps.select(columns)["at"][-1] / 1e6, steps["step"][-1]
            row = pl.read_parquet(file).row(0, named=True)
            for column, value in row.items():
                if column.startswith("metric.") and value is not None:
                    tag = column.removeprefix("metric.").replace(".", "/", 1)
                    expected[tag] = [(at, step, float(np.float32(value)))]
            compare(folders[file.stem].name, curves(folders[file.stem]), expected)
        live = sorted((root / "live").iterdir())
        assert len(live) == len(stages) == 3, f"{len(stages)} stages, {live}"
        for path in live:
            digits = event_file(path).name.rsplit(".", 1)[1]
            (steps,) = [steps for key, steps in stages.items() if key.startswith(digits)]
            compare(path.name, curves(path), recorded(steps.select(columns)))


if __name__ == "__main__":
    main()
