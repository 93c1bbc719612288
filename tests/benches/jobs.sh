#!/usr/bin/env bash
# Times a sweep with one job and with several, in turn, and compares the tables.
#
# Usage: tests/benches/jobs.sh [SPEC.yaml [KEY=VALUE ..]]     PAIRS and JOBS may be set
#
# Without a spec, two seeds of experiments/quickstart.yaml without pre-training: two trainings and two evaluations.
set -euo pipefail
cd "$(dirname "$0")/../.."
pairs=${PAIRS:-5} jobs=${JOBS:-2}
if [ $# -eq 0 ]; then
    set -- experiments/quickstart.yaml "seeds=[0, 1]" "sweep.list=[{pretrain.objective: none}]"
fi

cargo build --release --workspace --quiet
program=${CARGO_TARGET_DIR:-target}/release/reid-run
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export REID_RUN_CACHE=$scratch/cache

# Seconds of a run with so many jobs; its table goes to the scratch folder.
seconds() {
    local began ended
    began=$(date +%s%N)
    "$program" "${@:2}" --jobs "$1" --out "$scratch/runs" --quiet >"$scratch/table-$1"
    ended=$(date +%s%N)
    rm -rf "$scratch/runs"
    awk "BEGIN { printf \"%.2f\", ($ended - $began) / 1e9 }"
}

# Renders the pictures, which is not to be timed.
"$program" data stats "$1" --quiet >/dev/null
for pair in $(seq "$pairs"); do
    one=$(seconds 1 "$@")
    several=$(seconds "$jobs" "$@")
    cmp "$scratch/table-1" "$scratch/table-$jobs"
    echo "pair $pair: one job $one s, $jobs jobs $several s"
    echo "$one $several" >>"$scratch/times"
done

median() { sort -n | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }
ratio=$(awk '{ print $2 / $1 }' "$scratch/times" | median)
echo "median: one job $(awk '{ print $1 }' "$scratch/times" | median) s, $jobs jobs $(awk '{ print $2 }' "$scratch/times" | median) s, ratio $ratio; the tables are equal"
