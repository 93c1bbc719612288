#!/usr/bin/env bash
# Opens reports in a headless Chromium with tests/peers/report.py; Debian's packages are installed where they are missing.
#
# Usage: tests/peers/report.sh STORE SPEC.yaml
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

install() {
    local sudo=()
    if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi
    "${sudo[@]}" apt-get update -qq && "${sudo[@]}" apt-get install -y -qq --no-install-recommends chromium chromium-driver
}

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    if ! install >/dev/null 2>&1; then
        echo "SKIPPED: there is no Chromium, and none could be installed: no report was opened in a browser" >&2
        exit 0
    fi
fi
python=$("$here/setup.sh" browser)
"$python" "$here/report.py" "$@"
