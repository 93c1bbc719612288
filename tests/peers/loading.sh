#!/usr/bin/env bash
# Times the making of batches from JPEG files beside torchvision's DataLoader.
#
# Usage: tests/peers/loading.sh     PAIRS and THREADS may be set
#
# The first use installs PyTorch, some gigabytes, into target/peers-loading, and renders pictures of Market-1501's size,
# of a larger camera's crop and of a photograph's into target/pictures.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

python=$("$here/setup.sh" loading)
cargo build --release --workspace --examples --quiet
folders=()
# Size and people; only pictures to train on are read.
for of in 128,64:160 500,200:160 1024,512:16; do
    size=${of%:*}
    folder=$target/pictures/${size/,/x}
    cargo run --release --quiet -- data synth --spec experiments/quickstart.yaml --out "$folder" \
        "data.synthetic.size=[$size]" "data.synthetic.train_identities=${of#*:}" data.synthetic.test_identities=2 \
        data.synthetic.validation_identities=2 >/dev/null
    folders+=("$folder")
done
"$python" "$here/loading.py" "$target/release/examples/batches" "${folders[@]}"
