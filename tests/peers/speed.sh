#!/usr/bin/env bash
# Times reid-run's steps beside PyTorch's, after holding both PersonMAEs to the same losses and gradients.
#
# Usage: tests/peers/speed.sh [WORKLOAD ..]     PAIRS and THREADS may be set
#
# The first use installs PyTorch, some gigabytes, into target/peers-torch.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

python=$("$here/setup.sh" torch)
cargo build --release --workspace --example steps --quiet
golden=$(mktemp)
trap 'rm -f "$golden"' EXIT
"$target/release/examples/steps" golden "$golden"
"$python" "$here/steps.py" check "$golden"
"$python" "$here/speed.py" "$target/release/examples/steps" "$@"
