"""Times one training or inference step of a named piece of work in PyTorch.

`steps.py WORKLOAD THREADS` speaks the protocol of tests/benches/steps.rs: after `ready` it answers every
number on stdin with the mean time of that many steps in milliseconds, and at the end of the input with
its peak resident memory in MiB. Attention is PyTorch's fused one, the optimizer its fused AdamW.
"""

import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 751


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Pre-norm ViT; its parameters have timm's names and order."""

    def __init__(self, width, depth, heads, image, patch):
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        cells = image[0] // patch * (image[1] // patch)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + cells, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def embed(self, images):
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
        return x + self.pos_embed[:, 1:]

    def forward(self, images):
        x = self.embed(images)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([cls, x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def pictures(batch, image):
    return torch.randn(batch, 3, *image)


def classify(width, depth, heads, image, batch):
    vit = Vit(width, depth, heads, image, 16)
    head = nn.Linear(width, CLASSES)
    optimizer = torch.optim.AdamW(
        [*vit.parameters(), *head.parameters()], lr=1e-4, weight_decay=0.05, fused=True
    )
    images, labels = pictures(batch, image), torch.arange(batch) * 37 % CLASSES

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(head(vit(images)[:, 0]), labels)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()

    return step


def features(width, depth, heads, image, batch):
    vit = Vit(width, depth, heads, image, 16).eval()
    images = pictures(batch, image)

    def step():
        with torch.inference_mode():
            vit(images)[:, 0]

    return step


WORK = {
    "vit_small_train": lambda: classify(384, 12, 6, (256, 128), 32),
    "vit_tiny_train": lambda: classify(192, 6, 3, (128, 64), 64),
    "vit_small_features": lambda: features(384, 12, 6, (256, 128), 32),
    "vit_base_features": lambda: features(768, 12, 12, (256, 128), 32),
}


def main():
    name, threads = sys.argv[1:]
    torch.manual_seed(0)
    torch.set_num_threads(int(threads))
    step = WORK[name]()
    for _ in range(2):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        began = time.perf_counter()
        for _ in range(count):
            step()
        print(f"{(time.perf_counter() - began) * 1e3 / count:.3f}", flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)


main()
