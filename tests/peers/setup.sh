#!/usr/bin/env bash
# Makes a Python environment with pinned packages; does nothing if it is there already. Prints the path of
# its interpreter.
#
# Usage: setup.sh          requirements.txt in target/peers
#        setup.sh NAME     requirements-NAME.txt in target/peers-NAME
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=${1:+-$1}
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
folder=$(cd "$target" && pwd)/peers$name
requirements=$here/requirements$name.txt

if ! cmp -s "$requirements" "$folder/requirements.txt"; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    # Last, so that an interrupted setup starts again.
    cp "$requirements" "$folder/requirements.txt"
fi
echo "$folder/bin/python"
