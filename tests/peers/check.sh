#!/usr/bin/env bash
# Checks a store's results with Python's polars and numpy, its encoders with onnxruntime, event files with TensorBoard and
# reports with a browser.
#
# Usage: tests/peers/check.sh STORE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
store=$(cd "${1:?usage: check.sh STORE}" && pwd)
python=$("$here/setup.sh")

"$python" "$here/read_parquet.py" "$store/results"
"$python" "$here/recompute_metrics.py" "$store/results"
"$python" "$here/run_exports.py" "$store"
"$python" "$here/embedded.py" "$store" "$here/../../experiments/quickstart.yaml"
"$python" "$here/readme_snippet.py" "$here/../../README.md" "$store"
"$here/tensorboard.sh"
"$here/report.sh" "$store" "$here/../../experiments/quickstart.yaml"
