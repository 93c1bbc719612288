#!/usr/bin/env bash
# Holds imports and exports to PyTorch, timm, Hugging Face and onnxruntime: checkpoints of random weights in each
# project's format are imported, the same pictures are embedded on both sides, and our exports are loaded.
#
# Usage: tests/peers/weights.sh [CASE ..]
#
# The first use installs PyTorch, some gigabytes, into target/peers-weights.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

python=${PYTHON:-$("$here/setup.sh" weights)}
cargo build --release --workspace --example features --quiet
"$python" "$here/weights.py" "$target/release/examples/features" "$@"
