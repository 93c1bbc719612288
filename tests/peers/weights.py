"""Imports and exports against the real libraries.

Usage: weights.py PROGRAM [CASE ..]     where PROGRAM is the example `features`

Every case makes a checkpoint of random weights with PyTorch (and timm, and transformers), has the program import it and
embed pictures, and compares tokens. Then the program's exports are loaded: safetensors by timm, strictly, and ONNX by
onnxruntime with another batch than it was exported with.

Teachers are DINOv2 and BEiT of transformers with random weights, which see resized regions; their patches are averaged
over the regions' grid. candle-transformers takes GELU's tanh approximation and its own epsilons of norms, so they are held
to the same model with these, and what the models' own settings change is printed beside it.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import safetensors.torch
import timm.layers
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

TOLERANCE = 1e-4
WIDTH, DEPTH, HEADS, PATCH, IMAGE = 96, 3, 3, 8, (64, 32)
GRID = (IMAGE[0] // PATCH, IMAGE[1] // PATCH)


def timm_vit(**options):
    settings = dict(img_size=IMAGE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=0)
    return VisionTransformer(**{**settings, **options}).eval()


def randomized(module):
    """Values at which every parameter and statistic matters."""
    with torch.no_grad():
        for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn_like(tensor)
            if tensor.dim() > 1 and "pos" not in name and "token" not in name:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            elif name.endswith("weight") or name.endswith("var"):
                tensor.copy_(1 + 0.2 * noise.abs())
            else:
                tensor.copy_(0.3 * noise)
    return module


def prefixed(prefix, state):
    return collections.OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def negated(state):
    return {name: -tensor for name, tensor in state.items()}


class Case:
    """A file, what the spec says about it, and the tokens of its encoder."""

    def __init__(self, write, tokens, imported=None, backbone=None, in_timm=True):
        self.write, self.tokens, self.in_timm = write, tokens, in_timm
        self.imported, self.backbone = imported or {}, backbone or {}


def plain(wrap, suffix="pth", save=None, **options):
    """timm's encoder in a project's wrapping."""
    vit = randomized(timm_vit())

    def write(path):
        path = path.with_suffix("." + suffix)
        (save or torch.save)(wrap(vit.state_dict()), path)
        return path

    return Case(write, vit.forward_features, **options)


def training(extra):
    args = argparse.Namespace(arch="vit_small", lr=np.float64(5e-4), out_dim=64, crops=(0.4, 1.0), device=torch.device("cpu"))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(np.float64(1e-3)))
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = np.float64(0.25)
    return {**extra, "optimizer": optimizer.state_dict(), "epoch": 7, "args": args, "scaler": None}


def mae():
    decoder = {"mask_token": torch.randn(1, 1, 16), "decoder_embed.weight": torch.randn(16, WIDTH),
               "decoder_pos_embed": torch.randn(1, 33, 16), "decoder_blocks.0.attn.qkv.weight": torch.randn(48, 16),
               "decoder_norm.bias": torch.randn(16), "decoder_pred.weight": torch.randn(48, 16)}
    return plain(lambda state: training({"model": {**state, **decoder}}))


def dino():
    head = {"head.mlp.0.weight": torch.randn(16, WIDTH), "head.last_layer.weight_g": torch.ones(8, 1)}

    def wrap(state):
        return training({
            "student": {**prefixed("module.backbone.", negated(state)), "module.backbone.masked_embed": torch.zeros(1, WIDTH)},
            "teacher": {**prefixed("backbone.", state), **head},
            "dino_loss": {"center": torch.zeros(1, 8)},
        })

    return plain(wrap)


def ibot():
    return plain(lambda state: {"state_dict": {**state, "head.last_layer2.weight_v": torch.randn(4, 3)}}, suffix="pt")


def half():
    vit = randomized(timm_vit()).half().float()

    def write(path):
        torch.save({"state_dict": {name: tensor.half() for name, tensor in vit.state_dict().items()}}, path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    return Case(write, vit.forward_features)


def parameters():
    """Parameters instead of tensors, tied and strided as they come from live modules."""
    vit = randomized(timm_vit())
    with torch.no_grad():
        for block in vit.blocks:
            block.mlp.fc1.weight = nn.Parameter(block.mlp.fc1.weight.t().contiguous().t())

    def write(path):
        state = collections.OrderedDict(vit.named_parameters())
        flat = torch.cat([torch.zeros(5), state["norm.weight"].detach(), torch.zeros(2)])
        state["norm.weight"] = flat[5 : 5 + WIDTH]
        torch.save({"model": state}, path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    return Case(write, vit.forward_features)


def msn():
    return plain(lambda state: {"encoder": prefixed("module.", negated(state)), "target_encoder": prefixed("module.", state)})


def moco_v3():
    def wrap(state):
        other = prefixed("module.momentum_encoder.", negated(state))
        return training({"state_dict": {**prefixed("module.base_encoder.", state), **other}})

    return plain(wrap)


def transreid():
    neck = {"bottleneck.running_mean": torch.zeros(4), "bottleneck.num_batches_tracked": torch.tensor(3), "classifier.weight": torch.ones(5, 4)}

    def wrap(state):
        return {**prefixed("base.", state), "base.fc.weight": torch.randn(10, WIDTH), "base.sie_embed": torch.randn(6, 1, WIDTH), **neck}

    return plain(wrap, imported={"ignore": ["sie_embed"]})


def bootmae():
    vit = timm_vit()
    randomized(vit)
    with torch.no_grad():
        for block in vit.blocks:
            block.attn.qkv.bias[WIDTH : 2 * WIDTH] = 0

    def write(path):
        state = collections.OrderedDict()
        for name, tensor in vit.state_dict().items():
            if name.endswith("qkv.bias"):
                state[name.replace("qkv.bias", "q_bias")] = tensor[:WIDTH]
                state[name.replace("qkv.bias", "v_bias")] = tensor[2 * WIDTH :]
            else:
                state[name] = tensor
        torch.save(training({"model": state, "model_ema": negated(state)}), path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    return Case(write, vit.forward_features)


def timm_safetensors():
    return plain(lambda state: {**state, "head.weight": torch.randn(3, WIDTH)}, "safetensors", safetensors.torch.save_file)


def hugging_face(bare, suffix):
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    config = ViTConfig(hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
                       image_size=IMAGE, patch_size=PATCH, layer_norm_eps=1e-6)
    model = ViTModel(config, add_pooling_layer=True) if bare else ViTForImageClassification(config)
    randomized(model).eval()
    inner = model if bare else model.vit

    def write(path):
        # The library's own files, whatever names it keeps inside.
        model.save_pretrained(path.parent / "hugging_face")
        found = path.parent / "hugging_face" / "model.safetensors"
        if suffix == "bin":
            state = safetensors.torch.load_file(found)
            torch.save(state, path.with_suffix(".bin"))
            return path.with_suffix(".bin")
        return found

    return Case(write, lambda images: inner(pixel_values=images).last_hidden_state)


def positions(resize):
    """A square encoder's positions for our pictures."""
    square = randomized(timm_vit(img_size=(48, 48)))
    vit = timm_vit()
    state = square.state_dict()
    table = state["pos_embed"]
    if resize == "bicubic_antialias":
        new = timm.layers.resample_abs_pos_embed(table, list(GRID))
    else:
        cells = table[:, 1:].reshape(1, 6, 6, WIDTH).permute(0, 3, 1, 2)
        cells = F.interpolate(cells, size=GRID, mode=resize, align_corners=False).permute(0, 2, 3, 1)
        new = torch.cat([table[:, :1], cells.reshape(1, -1, WIDTH)], 1)
    vit.load_state_dict({**state, "pos_embed": new})

    def write(path):
        torch.save(state, path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    return Case(write, vit.forward_features, imported={"positions_resize": resize})


class Ibn(nn.Module):
    """Half instance, half batch norm, with TransReID-SSL's names."""

    def __init__(self, width):
        super().__init__()
        self.IN, self.BN = nn.InstanceNorm2d(width // 2, affine=True), nn.BatchNorm2d(width // 2)

    def forward(self, x):
        first, second = x.chunk(2, 1)
        return torch.cat([self.IN(first), self.BN(second)], 1)


class IcsEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), Ibn(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False), Ibn(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())  # fmt: skip
        self.proj = nn.Conv2d(64, WIDTH, PATCH // 2, PATCH // 2)

    def forward(self, x):
        return self.proj(self.conv(x)).flatten(2).transpose(1, 2)


def in_place_of_patches(embed, cells, backbone, wrap=lambda state: state):
    vit = timm_vit()
    vit.patch_embed = embed
    vit.pos_embed = nn.Parameter(torch.zeros(1, 1 + cells, WIDTH))
    randomized(vit).eval()

    def write(path):
        torch.save(wrap(vit.state_dict()), path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    return Case(write, vit.forward_features, backbone=backbone, in_timm=False)


def ics():
    wrap = lambda state: {"teacher": prefixed("module.backbone.", state), "student": prefixed("module.backbone.", negated(state))}
    return in_place_of_patches(IcsEmbed(), GRID[0] * GRID[1], {"stem": "ics"}, wrap)


class Overlapping(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, stride)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


def overlapping():
    cells = ((IMAGE[0] - PATCH) // 6 + 1) * ((IMAGE[1] - PATCH) // 6 + 1)
    return in_place_of_patches(Overlapping(6), cells, {"stride": {"pixels": 6}}, lambda state: prefixed("base.", state))


def part_tokens(choice):
    vit = randomized(timm_vit())
    parts = {f"part_token{i}": torch.randn(1, 1, WIDTH) for i in (1, 2, 3)}
    places = {f"part{i}_pos": torch.randn(1, 1, WIDTH) for i in (1, 2, 3)}

    def write(path):
        state = dict(vit.state_dict())
        table = state.pop("pos_embed")
        state.update(pos_embed=table[:, 1:].clone(), cls_pos=table[:, :1].clone(), **parts, **places)
        torch.save(state, path.with_suffix(".pth"))
        return path.with_suffix(".pth")

    def tokens(images):
        if choice == "drop":
            return vit.forward_features(images)
        x = vit.patch_embed(images) + vit.pos_embed[:, 1:]
        first = [vit.cls_token + vit.pos_embed[:, :1]]
        first += [parts[f"part_token{i}"] + places[f"part{i}_pos"] for i in (1, 2, 3)]
        x = torch.cat([token.expand(len(images), -1, -1) for token in first] + [x], 1)
        return vit.norm(vit.blocks(x))

    uses = choice == "use"
    backbone = {"part_tokens": 3} if uses else {}
    return Case(write, tokens, imported={"part_tokens": choice}, backbone=backbone, in_timm=not uses)


CASES = {
    "mae": mae,
    "dino": dino,
    "ibot": ibot,
    "half": half,
    "parameters": parameters,
    "msn": msn,
    "moco_v3": moco_v3,
    "transreid": transreid,
    "bootmae": bootmae,
    "timm": timm_safetensors,
    "hugging_face": lambda: hugging_face(False, "safetensors"),
    "hugging_face_bare": lambda: hugging_face(True, "bin"),
    "positions_bilinear": lambda: positions("bilinear"),
    "positions_bicubic": lambda: positions("bicubic"),
    "positions_timm": lambda: positions("bicubic_antialias"),
    "ics": ics,
    "overlapping": overlapping,
    "part_tokens": lambda: part_tokens("use"),
    "part_tokens_dropped": lambda: part_tokens("drop"),
}


class Teacher:
    """A frozen teacher's file, what the spec says about it, and the model with candle's settings and with its own."""

    def __init__(self, choice, side, half, model, settings, own, rename=None):
        torch.manual_seed(side)
        self.choice, self.side, self.half, self.rename = choice, side, half, rename
        self.model, self.own = model(**settings), model(**own)
        randomized(self.model).eval()
        self.own.load_state_dict(self.model.state_dict())
        self.own.eval()

    def write(self, path):
        self.model.save_pretrained(path)
        saved = path / "model.safetensors"
        if self.rename is not None:
            torch.save(self.rename(safetensors.torch.load_file(saved)), path / "model.pth")
            return path / "model.pth"
        return saved

    def features(self, model, images, grid):
        x = F.interpolate(images, size=(self.side, self.side), mode="bicubic", antialias=True, align_corners=False)
        if self.half:
            mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            x = (x * std + mean - 0.5) / 0.5
        with torch.no_grad():
            last = model(pixel_values=x, output_hidden_states=True).hidden_states[-1][:, 1:]
        cells = round(last.shape[1] ** 0.5)
        maps = last.transpose(1, 2).reshape(len(x), -1, cells, cells)
        return F.adaptive_avg_pool2d(maps, grid).flatten(2).transpose(1, 2)


# What `size: micro` is.
MICRO = dict(hidden_size=96, num_hidden_layers=4, num_attention_heads=3)


def meta_names(state):
    """DINOv2's parameters in the words of its authors' files."""
    new = {}
    for name, tensor in state.items():
        for theirs, ours in [("embeddings.position_embeddings", "pos_embed"), ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
                             ("embeddings.", ""), ("encoder.layer.", "blocks."), ("layernorm.", "norm."), ("layer_scale1.lambda1", "ls1.gamma"),
                             ("layer_scale2.lambda1", "ls2.gamma"), ("attention.output.dense", "attn.proj")]:  # fmt: skip
            name = name.replace(theirs, ours)
        new[name] = tensor
    for name in [name for name in new if "attention.attention.query" in name]:
        thirds = [new.pop(name.replace("query", third)) for third in ("query", "key", "value")]
        new[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(thirds)
    return new


def dinov2(rename=None):
    from transformers import Dinov2Config, Dinov2Model

    def model(**settings):
        return Dinov2Model(Dinov2Config(**MICRO, image_size=518, patch_size=14, mlp_ratio=4, **settings))

    candle = dict(hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-5)
    return Teacher("dinov2", 518, False, model, candle, {}, rename)


def beit():
    from transformers import BeitConfig, BeitModel

    def model(**settings):
        config = BeitConfig(**MICRO, intermediate_size=384, image_size=384, patch_size=16, use_relative_position_bias=True,
                            use_absolute_position_embeddings=False, layer_scale_init_value=0.1, **settings)
        return BeitModel(config, add_pooling_layer=True)

    return Teacher("beit", 384, True, model, dict(hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6), {})


TEACHERS = {"dinov2": dinov2, "dinov2_meta": lambda: dinov2(meta_names), "beit": beit}


def run_teacher(program, name, make, folder):
    teacher = make()
    path = teacher.write(folder / name)
    images, grid = torch.randn(2, 3, 64, 32), (8, 4)
    safetensors.torch.save_file({"images": images}, folder / "images.safetensors")
    job = {
        "frozen": {teacher.choice: {"path": str(path), "size": "micro"}}, "grid": grid,
        "images": str(folder / "images.safetensors"), "features": str(folder / "features.safetensors"),
    }  # fmt: skip
    call(program, {"teacher": job}, folder)
    ours = safetensors.torch.load_file(folder / "features.safetensors")["features"]
    theirs, own = (teacher.features(model, images, grid) for model in (teacher.model, teacher.own))
    scale = float(theirs.abs().max())
    assert 0.1 < float(theirs.abs().mean()), float(theirs.abs().mean())
    found = difference(ours, theirs) / scale
    print(f"{name:<20} features {found:.1e}  with its own activation and norms {difference(ours, own) / scale:.1e}")
    return found <= TOLERANCE


def call(program, job, folder):
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run([program, str(folder / "job.json")], check=True, stderr=None if "-v" in sys.argv else subprocess.DEVNULL)


def difference(ours, theirs):
    return float((torch.as_tensor(ours) - torch.as_tensor(theirs)).abs().max())


def run(program, name, make, folder):
    torch.manual_seed(sum(name.encode()))
    case = make()
    path = case.write(folder / name)
    images = torch.randn(3, 3, *IMAGE)
    safetensors.torch.save_file({"images": images}, folder / "images.safetensors")
    job = {
        "backbone": {"image": list(IMAGE), "patch": PATCH, "drop_path": 0.0, **case.backbone},
        "width": WIDTH, "depth": DEPTH, "heads": HEADS,
        "imported": {"path": str(path), **case.imported},
        "images": str(folder / "images.safetensors"),
        "features": str(folder / "features.safetensors"),
        "export": str(folder / "encoder"),
    }  # fmt: skip
    call(program, {"import": job}, folder)
    ours = safetensors.torch.load_file(folder / "features.safetensors")
    with torch.no_grad():
        theirs = case.tokens(images)
    found = {"import": difference(ours["tokens"], theirs)}
    # The tokens of timm's features are of the scale of 1, so that an absolute tolerance says something.
    assert 0.1 < float(theirs.abs().mean()) < 10, float(theirs.abs().mean())

    onnx.checker.check_model(onnx.load(folder / "encoder.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
    feature, tokens = session.run(["feature", "tokens"], {"images": images[:2].numpy()})
    found["onnx"] = max(difference(tokens, theirs[:2]), difference(feature, theirs[:2, 0]))

    if case.in_timm:
        vit = timm_vit()
        vit.load_state_dict(safetensors.torch.load_file(folder / "encoder.safetensors"), strict=True)
        with torch.no_grad():
            found["timm"] = max(difference(vit.forward_features(images), theirs), difference(vit(images), theirs[:, 0]))
    print(f"{name:<20} " + "  ".join(f"{what} {value:.1e}" for what, value in found.items()))
    return all(value <= TOLERANCE for value in found.values())


def main():
    program, *names = [argument for argument in sys.argv[1:] if argument != "-v"]
    torch.set_num_threads(1)
    failed = []
    for name in names or [*CASES, *TEACHERS]:
        with tempfile.TemporaryDirectory() as folder:
            compare, cases = (run_teacher, TEACHERS) if name in TEACHERS else (run, CASES)
            if not compare(program, name, cases[name], Path(folder)):
                failed.append(name)
    if failed:
        sys.exit(f"beyond {TOLERANCE}: {', '.join(failed)}")
    print(f"{len(names or [*CASES, *TEACHERS])} cases within {TOLERANCE}")


if __name__ == "__main__":
    main()
