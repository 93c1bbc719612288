#!/usr/bin/env bash
# Has TensorBoard read event files of trainings under way and of finished runs, and compares them with the results.
#
# Usage: tests/peers/tensorboard.sh [PROGRAM]     the program as built if absent
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:+$(realpath "$1")}
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

python=$("$here/setup.sh" tensorboard)
if [ -z "$program" ]; then
    cargo build --release --workspace --quiet
    program=$target/release/reid-run
fi
"$python" "$here/event_files.py" "$program"
