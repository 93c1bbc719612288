"""Exports a run's encoder in both formats and embeds pictures with onnxruntime and with plain numpy.

Usage: run_exports.py STORE
"""

import json
import subprocess
import sys
import tempfile
from math import erf
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl

TOLERANCE = 1e-4
EPS = 1e-6  # of layer norms, as in timm


def load_safetensors(path):
    """Tensors and remarks (https://huggingface.co/docs/safetensors)."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    remarks = header.pop("__metadata__")
    numbers = data[8 + length :]

    def tensor(entry):
        start, end = entry["data_offsets"]
        return np.frombuffer(numbers[start:end], "<f4").reshape(entry["shape"]).astype(np.float64)

    return {name: tensor(entry) for name, entry in header.items()}, remarks


def norm(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def vit(images, w, heads):
    """A pre-norm ViT (Dosovitskiy et al., arXiv 2010.11929) in float64."""
    kernel = w["patch_embed.proj.weight"]
    width, _, p, _ = kernel.shape
    b, c, height, columns = images.shape
    cut = images.reshape(b, c, height // p, p, columns // p, p).transpose(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)
    patches = cut @ kernel.reshape(width, -1).T + w["patch_embed.proj.bias"]
    x = np.concatenate([np.repeat(w["cls_token"], b, 0), patches], 1) + w["pos_embed"]
    n = x.shape[1]
    for i in range(sum(name.endswith("norm1.weight") for name in w)):
        block = f"blocks.{i}"
        qkv = linear(norm(x, w, f"{block}.norm1"), w, f"{block}.attn.qkv")
        q, k, v = qkv.reshape(b, n, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + linear(mixed.transpose(0, 2, 1, 3).reshape(b, n, width), w, f"{block}.attn.proj")
        hidden = linear(norm(x, w, f"{block}.norm2"), w, f"{block}.mlp.fc1")
        hidden = hidden * (1 + np.vectorize(erf)(hidden / np.sqrt(2))) / 2
        x = x + linear(hidden, w, f"{block}.mlp.fc2")
    return norm(x, w, "norm")


def main():
    store = Path(sys.argv[1])
    # An untrained encoder is in no stage, so there is none to export.
    trained = pl.col("stage_train").is_not_null() | pl.col("stage_pretrain").is_not_null()
    files = sorted((store / "results/runs").glob("*.parquet"))
    ids = [row for file in files for row in pl.read_parquet(file).filter(trained)["run_id"]]
    assert ids, "no runs with an encoder"
    for run in ids:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, f"encoder.{ending}") for ending in ("safetensors", "onnx")]
            for file in files:
                command = ["cargo", "run", "--release", "--quiet", "--", "export", run, "--to", file, "--out", store, "--quiet"]
                subprocess.run(command, check=True)
            weights, remarks = load_safetensors(files[0])
            size = [int(side) for side in remarks["img_size"].split("x")]
            images = np.random.default_rng(0).standard_normal((5, 3, *size), np.float32)
            expected = vit(images.astype(np.float64), weights, int(remarks["num_heads"]))
            session = onnxruntime.InferenceSession(files[1], providers=["CPUExecutionProvider"])
            feature, tokens = session.run(["feature", "tokens"], {"images": images})
            error = max(np.abs(tokens - expected).max(), np.abs(feature - expected[:, 0]).max())
            print(f"{run}: tokens of numpy and onnxruntime differ by {error:.1e}, of mean size {np.abs(expected).mean():.2f}")
            assert error <= TOLERANCE, "the exports disagree"


if __name__ == "__main__":
    main()
