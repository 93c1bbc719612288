"""Times one training or inference step of a named piece of work in PyTorch.

`steps.py WORKLOAD THREADS` speaks the protocol of tests/benches/steps.rs: after `ready` it answers every
number on stdin with the mean time of that many steps in milliseconds, and at the end of the input with
its peak resident memory in MiB. Attention is PyTorch's fused one, the optimizer its fused AdamW.
`steps.py check FILE` compares losses and gradients with those that `steps golden FILE` wrote.
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


def sincos(width, x, y):
    """`[.., width]`: sine-cosine positions of points in cells, x in the first half (MAE's layout)."""
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    parts = [f(p[..., None] * frequencies) for p in (x, y) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, -1).float()


class Decoder(nn.Module):
    """RegionA's visible tokens and a mask token for every cell of RegionB, side by side."""

    def __init__(self, width, heads, depth, outputs):
        super().__init__()
        self.embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, outputs)

    def forward(self, tokens, placed, queries):
        x = torch.cat([self.embed(tokens) + placed, self.mask_token + queries], 1)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x[:, -queries.shape[1] :]))


class PersonMae(nn.Module):
    """Our PersonMAE with its defaults (objectives/src/person_mae), written once more in PyTorch."""

    def __init__(self, width, depth, heads, image, patch):
        super().__init__()
        self.grid, self.patch = (image[0] // patch, image[1] // patch), patch
        self.encoder = Vit(width, depth, heads, image, patch)
        self.pixel_decoder = Decoder(width, heads, 2, 3 * patch * patch)
        self.feature_decoder = Decoder(width, heads, 2, width)
        self.teacher = [p.detach().clone() for p in self.encoder.parameters()]

    def encode(self, images, keep):
        x = self.encoder.embed(images)
        x = x.gather(1, keep[..., None].expand(-1, -1, x.shape[2]))
        vit = self.encoder
        x = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(len(x), -1, -1), x], 1)
        for block in vit.blocks:
            x = block(x)
        return vit.norm(x)

    def teach(self, images):
        """The last block's patches, before the final norm, through the teacher's parameters."""
        own = dict(zip(dict(self.encoder.named_parameters()), self.teacher))
        return torch.func.functional_call(LastBlock(self.encoder), {f"vit.{k}": v for k, v in own.items()}, (images,))

    def positions(self, keep, windows):
        """Of the class token and the visible cells, and of RegionB's cells in RegionA's grid."""
        (rows, cols), width = self.grid, self.encoder.cls_token.shape[2]
        row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
        table = torch.cat([torch.zeros(1, width), sincos(width, col.flatten().double(), row.flatten().double())])
        cells = torch.cat([torch.zeros(len(keep), 1, dtype=keep.dtype), keep + 1], 1)
        (top, left, height, breadth), b = windows[0].double().unbind(-1), windows[1].double()
        along = lambda n, a0, a, b0, size: (
            (b0[:, None] + (torch.arange(n) + 0.5) / n * size[:, None] - a0[:, None]) / a[:, None] * n - 0.5
        )
        y = along(rows, top, height, b[:, 0], b[:, 2])[:, :, None].expand(-1, -1, cols)
        x = along(cols, left, breadth, b[:, 1], b[:, 3])[:, None, :].expand(-1, rows, -1)
        return table[cells], sincos(width, x, y).flatten(1, 2)

    def losses(self, pixels, windows, keep):
        tokens = self.encode(pixels[0], keep)
        placed, queries = self.positions(keep, windows)
        b, p = pixels[1], self.patch
        target = b.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        pixel = F.mse_loss(self.pixel_decoder(tokens, placed, queries), target)
        with torch.no_grad():
            features = self.teach(b)
        norm = lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-6)
        feature = F.mse_loss(norm(self.feature_decoder(tokens, placed, queries)), norm(features))
        return pixel, feature

    @torch.no_grad()
    def follow(self, momentum):
        torch._foreach_mul_(self.teacher, momentum)
        torch._foreach_add_(self.teacher, [p.detach() for p in self.encoder.parameters()], alpha=1 - momentum)


class LastBlock(nn.Module):
    def __init__(self, vit):
        super().__init__()
        self.vit = vit

    def forward(self, images):
        vit = self.vit
        x = vit.embed(images)
        x = torch.cat([(vit.cls_token + vit.pos_embed[:, :1]).expand(len(x), -1, -1), x], 1)
        for block in vit.blocks:
            x = block(x)
        return x[:, 1:]


def person_mae(ratio, width, depth, heads, image, patch, batch):
    model = PersonMae(width, depth, heads, image, patch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    pixels = torch.randn(2, batch, 3, *image)
    window = torch.tensor([[0.0, 0.0, image[0], image[1]], [4.0, 2.0, image[0] * 0.8, image[1] * 0.8]])
    windows = window[:, None].expand(-1, batch, -1)
    cells = model.grid[0] * model.grid[1]
    visible = cells - int(ratio * cells)

    def step():
        keep = torch.rand(batch, cells).argsort(1)[:, :visible].sort(1).values
        optimizer.zero_grad(set_to_none=True)
        pixel, feature = model.losses(pixels, windows, keep)
        loss = pixel + feature
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        model.follow(0.99)
        assert loss.isfinite()

    return step


WORK = {
    "person_mae_50": lambda: person_mae(0.5, 384, 12, 6, (256, 128), 16, 32),
    "person_mae_75": lambda: person_mae(0.75, 384, 12, 6, (256, 128), 16, 32),
    "micro_person_mae": lambda: person_mae(0.5, 96, 4, 3, (64, 32), 8, 64),
    # PyTorch as it is usually trained: beside it, our memory with recomputed blocks.
    "vit_small_recompute": lambda: classify(384, 12, 6, (256, 128), 32),
    "vit_small_train": lambda: classify(384, 12, 6, (256, 128), 32),
    "vit_tiny_train": lambda: classify(192, 6, 3, (128, 64), 64),
    "vit_small_features": lambda: features(384, 12, 6, (256, 128), 32),
    "vit_base_features": lambda: features(768, 12, 12, (256, 128), 32),
}


def check(file):
    """Holds PyTorch's PersonMAE to the losses and gradients that `steps golden FILE` wrote."""
    from safetensors.torch import load_file

    golden = load_file(file)
    take = lambda prefix: {k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)}
    weights = take("weights.")
    width, _, patch, _ = weights["encoder.patch_embed.proj.weight"].shape
    depth = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.blocks."))
    pixels = golden["in.pixels"]
    model = PersonMae(width, depth, int(golden["in.heads"]), pixels.shape[3:], patch)
    model.load_state_dict(weights)
    model.teacher = [p.detach().clone() for p in model.encoder.parameters()]
    pixel, feature = model.losses(pixels, golden["in.windows"], golden["in.keep"].long())
    (pixel + feature).backward()
    worst = {"pixel": (pixel / golden["out.pixel"] - 1).abs(), "feature": (feature / golden["out.feature"] - 1).abs()}
    # Relative to all gradients: the key's bias has none, but for rounding.
    scale = max(v.abs().max() for v in take("grad.").values())
    grads = dict(model.named_parameters())
    worst["gradient"] = max((grads[k].grad - v).abs().max() / scale for k, v in take("grad.").items())
    print(", ".join(f"{k} off by {v.item():.1e}" for k, v in worst.items()))
    sys.exit(0 if max(worst.values()) < 1e-4 else "PyTorch's PersonMAE is another one")


def main():
    if sys.argv[1] == "check":
        return check(sys.argv[2])
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
