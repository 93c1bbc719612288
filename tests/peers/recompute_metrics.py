"""Computes the final metrics of every run again from its per-query scores, with numpy.

Usage: python3 recompute_metrics.py RESULTS_DIR

Exits 1 if a number in runs/ is not what queries/ gives to within rounding, naming it.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

# Relative: both sides are sums of a few thousand 64-bit numbers.
TOLERANCE = 1e-12


def metrics(queries: pl.DataFrame) -> dict[str, float]:
    """Metrics over the queries that have a match, by their definitions."""
    valid = queries.filter(pl.col("matches") > 0)
    ap, inp, first = (valid[name].to_numpy() for name in ("ap", "inp", "first_hit"))
    ranks = {f"rank{k}": np.mean(first <= k) for k in (1, 5, 10)}
    found = {"map": np.mean(ap), "minp": np.mean(inp), "valid_queries": float(len(ap)), **ranks}
    if queries["hidden"].null_count() == 0:
        # 32-bit numbers, as they were compared.
        hidden = valid["hidden"].to_numpy().astype(np.float32)
        kind = np.digitize(hidden, np.array([1 / 3, 1 / 2], np.float32))
        names = ["map_hidden_low", "map_hidden_mid", "map_hidden_high"]
        found |= {name: np.mean(ap[kind == i]) for i, name in enumerate(names) if (kind == i).any()}
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    results = Path(sys.argv[1])
    compared = 0
    for path in sorted((results / "runs").glob("*.parquet")):
        run = pl.read_parquet(path).row(0, named=True)
        if run["status"] != "ok":
            continue
        queries = pl.read_parquet(results / "queries" / path.name)
        for (split,), part in queries.group_by("split"):
            for name, value in metrics(part).items():
                stored = run[f"metric.{split}.{name}"]
                if not np.isclose(stored, value, rtol=TOLERANCE, atol=0.0):
                    sys.exit(f"metric.{split}.{name} is {stored}, but its queries give {value}: {path}")
                compared += 1
    if not compared:
        sys.exit(f"no run that ended well: {results}")
    print(f"{compared} metrics computed again from the queries: equal")


if __name__ == "__main__":
    main()
