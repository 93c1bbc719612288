#!/usr/bin/env bash
# Times reid-run's evaluation, clustering and re-ranking beside public implementations' formulas on numpy, faiss and
# scikit-learn, and compares what both find.
#
# Usage: tests/peers/retrieval.sh [WORK ..]     PAIRS and THREADS may be set
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

python=$("$here/setup.sh" retrieval)
cargo build --release --workspace --example retrieval --quiet
"$python" "$here/retrieval.py" "$target/release/examples/retrieval" "$@"
