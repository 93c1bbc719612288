#!/usr/bin/env bash
# Makes a Python environment with the pinned packages under target/peers; does nothing if it is there already.
# Prints the path of its interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
folder=$(cd "$target" && pwd)/peers

if ! cmp -s "$here/requirements.txt" "$folder/requirements.txt"; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    # Last, so that an interrupted setup starts again.
    cp "$here/requirements.txt" "$folder/"
fi
echo "$folder/bin/python"
