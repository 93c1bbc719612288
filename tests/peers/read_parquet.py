"""Reads a results folder with Python's polars, independently of reid-run.

Usage: python3 read_parquet.py RESULTS_DIR

RESULTS_DIR holds runs/, metrics/ and queries/. Checks the metadata and columns of every file and prints, per label,
the mean test mAP over the runs that ended well. Exits 1 on the first fault, naming the file. Needs only polars.
"""

import json
import sys
from pathlib import Path

import polars as pl

UTC_MICROSECONDS = pl.Datetime("us", "UTC")

# Columns that a reader may rely on, with their types; the full list is results/src/schema.rs.
EXPECTED = {
    "runs": {
        "run_id": pl.String,
        "experiment": pl.String,
        "label": pl.String,
        "point": pl.Int64,
        "seed_pretrain": pl.Int64,
        "seed_downstream": pl.Int64,
        "status": pl.String,
        "spec_commit": pl.String,
        "spec_dirty": pl.Boolean,
        "program_commit": pl.String,
        "computed_commit": pl.String,
        "dataset_fingerprint": pl.String,
        "synthetic": pl.Boolean,
        "protocol": pl.String,
        "started_at": UTC_MICROSECONDS,
        "seconds": pl.Float64,
        "images_seen": pl.Int64,
        "marks": pl.List(pl.String),
        "config_json": pl.String,
    },
    "metrics": {
        "run_id": pl.String,
        "stage": pl.String,
        "epoch": pl.Int64,
        "step": pl.Int64,
        "metric": pl.String,
        "value": pl.Float64,
        "at": UTC_MICROSECONDS,
        "spec_commit": pl.String,
        "program_commit": pl.String,
    },
    "queries": {
        "run_id": pl.String,
        "split": pl.String,
        "query": pl.Int64,
        "hidden": pl.Float64,
        "ap": pl.Float64,
        "inp": pl.Float64,
        "first_hit": pl.Int64,
        "matches": pl.Int64,
        "spec_commit": pl.String,
        "program_commit": pl.String,
    },
}

# Of the columns that are named below.
SCHEMA_VERSION = "2"


def fail(path: Path, problem: str) -> None:
    sys.exit(f"{problem}: {path}")


def read_part(folder: Path) -> pl.DataFrame:
    """All files of one part, each checked, in one frame."""
    frames = []
    for path in sorted(folder.glob("*.parquet")):
        metadata = pl.read_parquet_metadata(path)
        if metadata.get("reid_run.schema_version") != SCHEMA_VERSION:
            fail(path, f"schema version is {metadata.get('reid_run.schema_version')}")
        units = json.loads(metadata["reid_run.units"])
        if "reid_run.commit" not in metadata or not all("direction" in about for about in units.values()):
            fail(path, "commit or directions are missing from the metadata")
        frame = pl.read_parquet(path)
        for name, dtype in EXPECTED[folder.name].items():
            if frame.schema.get(name) != dtype:
                fail(path, f"column {name} is {frame.schema.get(name)}, not {dtype}")
        for name in frame.columns:
            if name.startswith("metric.") and name not in units:
                fail(path, f"no unit for {name}")
        frames.append(frame)
    if not frames:
        fail(folder, "no Parquet files")
    return pl.concat(frames, how="diagonal_relaxed")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    results = Path(sys.argv[1])
    parts = {name: read_part(results / name) for name in EXPECTED}
    runs = parts["runs"]
    if runs["run_id"].n_unique() != runs.height:
        fail(results / "runs", "a run has several rows")
    for name in ("metrics", "queries"):
        strangers = set(parts[name]["run_id"]) - set(runs["run_id"])
        if strangers:
            fail(results / name, f"rows of unknown runs {sorted(strangers)}")
        print(f"{name}: {parts[name].height} rows")
    ok = runs.filter(pl.col("status") == "ok")
    print(f"runs: {runs.height}, ok: {ok.height}")
    if "metric.test.map" not in runs.columns:
        fail(results / "runs", "no run has metric.test.map")
    per_cent = 100 * pl.col("metric.test.map").mean()
    for label, mean in ok.group_by("label").agg(per_cent).sort("label").iter_rows():
        print(f"{label}: mAP {mean:.2f} %" if mean is not None else f"{label}: no mAP")


if __name__ == "__main__":
    main()
