"""Embeds the test pictures of a store's runs and computes their mAP from the features with numpy.

Usage: embedded.py STORE SPEC.yaml
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

TOLERANCE = 1e-5


def mean_average_precision(query, gallery):
    """Steps; the same person by the same camera is left out."""
    features = [np.stack(part["feature"].to_numpy()) for part in (query, gallery)]
    similarity = features[0].astype(np.float64) @ features[1].astype(np.float64).T
    (pid, camera), (of_gallery, its_camera) = [(part["pid"].to_numpy(), part["camera"].to_numpy()) for part in (query, gallery)]
    precisions = []
    for row, person, seen_by in zip(similarity, pid, camera):
        kept = ~((of_gallery == person) & (its_camera == seen_by))
        order = np.argsort(-row[kept], kind="stable")
        hits = (of_gallery[kept][order] == person).astype(np.float64)
        if hits.any():
            precisions.append((np.cumsum(hits) / np.arange(1, hits.size + 1))[hits > 0].mean())
    return np.mean(precisions)


def main():
    store, spec = Path(sys.argv[1]), sys.argv[2]
    rows = pl.concat([pl.read_parquet(file).select("run_id", "metric.test.map") for file in sorted((store / "results/runs").glob("*.parquet"))])
    with tempfile.TemporaryDirectory() as folder:
        for run, expected in rows.iter_rows():
            file = Path(folder, "features.parquet")
            command = ["cargo", "run", "--release", "--quiet", "--", "embed", run, "--data", spec, "--to", file, "--out", store, "--quiet"]
            subprocess.run(command, check=True)
            features = pl.read_parquet(file)
            found = mean_average_precision(*[features.filter(pl.col("split") == part) for part in ("query", "gallery")])
            print(f"{run}: mAP {found:.6f} from {len(features)} features, {expected:.6f} in its row")
            assert abs(found - expected) <= TOLERANCE, "the features rank otherwise"


if __name__ == "__main__":
    main()
