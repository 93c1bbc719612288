"""Embeds the test pictures of a store's runs, and ranks the features with numpy as the runs' evaluations did.

Usage: embedded.py STORE SPEC.yaml

The program ranks by distances of 32 bits, which order pictures that are equally near in another way than numpy's. So each
query's average precision must lie between that of its matches placed first and last among those.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

# Rounding of a dot product of two features of length 1, and of what is made of it.
NEAR = 1e-6


def average_precision(similarity, is_match):
    """By steps."""
    hits = is_match[np.argsort(-similarity, kind="stable")].astype(np.float64)
    return (np.cumsum(hits) / np.arange(1, hits.size + 1))[hits > 0].mean()


def bounds(query, gallery):
    """Smallest and largest average precision of every query; the same person by the same camera is left out."""
    features = [np.stack(part["feature"].to_numpy()).astype(np.float64) for part in (query, gallery)]
    of_gallery, its_camera = gallery["pid"].to_numpy(), gallery["camera"].to_numpy()
    found = {}
    for row, path, person, camera in zip(features[0] @ features[1].T, query["path"], query["pid"], query["camera"]):
        kept = ~((of_gallery == person) & (its_camera == camera))
        similarity, is_match = row[kept], of_gallery[kept] == person
        if is_match.any():
            found[path] = [average_precision(similarity + sign * NEAR * is_match, is_match) for sign in (-1, 1)]
    return found


def main():
    store, spec = Path(sys.argv[1]), sys.argv[2]
    for file in sorted((store / "results/runs").glob("*.parquet")):
        run = file.stem
        scores = pl.read_parquet(store / "results/queries" / file.name).filter((pl.col("split") == "test") & (pl.col("matches") > 0))
        with tempfile.TemporaryDirectory() as folder:
            to = Path(folder, "features.parquet")
            command = ["cargo", "run", "--release", "--quiet", "--", "embed", run, "--data", spec, "--to", to, "--out", store, "--quiet"]
            subprocess.run(command, check=True)
            features = pl.read_parquet(to)
        found = bounds(*[features.filter(pl.col("split") == part) for part in ("query", "gallery")])
        assert len(found) == len(scores), f"{run}: {len(found)} queries with a match, {len(scores)} in its results"
        for path, score in scores.select("path", "ap").iter_rows():
            least, most = found[path]
            assert least - 1e-12 <= score <= most + 1e-12, f"{run}: {path} has {score}, features give {least} to {most}"
        width = np.mean([most - least for least, most in found.values()])
        print(f"{run}: {len(found)} queries ranked by {len(features)} features as the run did (to {width:.1e} of rounding)")


if __name__ == "__main__":
    main()
