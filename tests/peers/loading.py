"""Times the making of batches from JPEG files beside torchvision's DataLoader, in turn, on this machine.

usage: loading.py BATCHES FOLDER ..      BATCHES: the built example of tests/benches/batches.rs
       loading.py serve KIND FOLDER      torchvision's side of it

A folder holds `bounding_box_train` with pictures. Each side has as many threads, or worker processes, as THREADS says.
The transforms are those of TransReID's training (supervised) and DINO's two global and eight local crops (multi_crop),
by torchvision on PIL pictures, as the papers' code has them. A ratio above 1 says how many times faster reid-run is. Lines `_reduced` decode large
pictures at a part of their size, beside reid-run itself with full decoding.
"""

import os
import pathlib
import random
import resource
import statistics
import sys
import time

from pairs import PAIRS, THREADS, Side, compare, interval

BATCH = 64
# Batches that may wait, for each worker.
WAITING = 2
KINDS = ["supervised", "multi_crop"]
# Pictures from this height on are also decoded at a part of their size, beside reid-run's full decoding.
LARGE = 1000


def transform(kind):
    from PIL import Image, ImageFilter, ImageOps
    from timm.data.random_erasing import RandomErasing
    from torchvision import transforms as T
    from torchvision.transforms import InterpolationMode

    bicubic = InterpolationMode.BICUBIC
    normalise = T.Compose([T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    if kind == "supervised":
        return T.Compose([
            T.Resize((256, 128), interpolation=bicubic),
            T.RandomHorizontalFlip(0.5),
            T.Pad(10),
            T.RandomCrop((256, 128)),
            normalise,
            RandomErasing(probability=0.5, mode="pixel", max_count=1, device="cpu"),
        ])

    class Blur:
        def __init__(self, probability):
            self.probability = probability

        def __call__(self, picture):
            if random.random() >= self.probability:
                return picture
            return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))

    class Solarise:
        def __call__(self, picture):
            return ImageOps.solarize(picture) if random.random() < 0.2 else picture

    def view(size, scale, blur, solarise):
        jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
        steps = [
            T.RandomResizedCrop(size, scale=scale, interpolation=bicubic),
            T.RandomHorizontalFlip(0.5),
            jitter,
            T.RandomGrayscale(0.2),
            Blur(blur),
        ]
        return T.Compose(steps + ([Solarise()] if solarise else []) + [normalise])

    views = [view((256, 128), (0.4, 1.0), 1.0, False), view((256, 128), (0.4, 1.0), 0.1, True)]
    views += [view((96, 64), (0.05, 0.4), 0.5, False)] * 8
    return lambda picture: [make(picture) for make in views]


def serve(kind, folder):
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(1)

    class Pictures(Dataset):
        def __init__(self):
            self.paths = sorted(pathlib.Path(folder, "bounding_box_train").iterdir())
            self.transform = transform(kind)

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, index):
            return self.transform(Image.open(self.paths[index]).convert("RGB"))

    loader = DataLoader(
        Pictures(), BATCH, shuffle=True, num_workers=int(THREADS), drop_last=True, persistent_workers=True, prefetch_factor=WAITING
    )

    def endless():
        while True:
            yield from loader

    batches = endless()
    for _ in range(4):
        next(batches)
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        # Those that were made while nobody waited.
        for _ in range(WAITING * int(THREADS)):
            next(batches)
        began = time.perf_counter()
        for _ in range(count):
            next(batches)
        print((time.perf_counter() - began) * 1e3 / count, flush=True)
    batches.close()
    # The workers' own peaks count too: each is a process.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del batches, loader
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * int(THREADS)
    print((own + workers) // 1024, flush=True)


def main():
    if sys.argv[1] == "serve":
        return serve(*sys.argv[2:])
    batches, *folders = sys.argv[1:]
    kinds = os.environ.get("KINDS", " ".join(KINDS)).split()
    print(f"{PAIRS} pairs, {THREADS} threads or workers, batches of {BATCH}; pictures a second, peak RSS in MiB")
    print(f"{'':32}{'reid-run':>9}{'beside':>12}{'times':>7}  {'95 % of it':14}{'RSS':>6}{'peer':>6}")
    for folder in folders:
        own = pathlib.Path(folder).name
        works = [(kind, "torchvision") for kind in kinds]
        if int(own.split("x")[0]) >= LARGE:
            works += [(f"{kind}_reduced", "reid-run") for kind in kinds]
        for kind, beside in works:
            ours = Side(batches, kind, folder, THREADS)
            if beside == "torchvision":
                peer = Side(sys.executable, __file__, "serve", kind, folder)
            else:
                peer = Side(batches, kind.removesuffix("_reduced"), folder, THREADS)
            a, b, ratios, memory = compare(ours, peer, 4 * WAITING * int(THREADS))
            times = [1 / ratio for ratio in ratios]
            low, high = interval(times)
            name = f"{kind} {own}"
            print(
                f"{name:32}{BATCH * 1e3 / a:9.0f}{BATCH * 1e3 / b:12.0f}{statistics.median(times):7.2f}"
                f"  {low:.2f} to {high:.2f}{memory[0]:8}{memory[1]:6}",
                flush=True,
            )


main()
