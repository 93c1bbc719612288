"""Writes small data sets in the forms that only other programs write, for the tests to read.

usage: datasets.py OUT              the fixtures of the tests
       datasets.py OUT PICTURES     an LMDB database of so many tiny pictures, to open it and see what that costs

The pictures are rectangles of a colour of their own, so that a test can tell each of them by one pixel.

lmdb/       an LMDB database of 240 pictures and keys.pkl, as LUPerson's authors keep it (key CC_cc_VVVV_MMMMMMMM);
            small pictures lie inside the tree's pages, every tenth one is large and lies on pages of its own
cfs.pkl     a list of a third of them, the last one first
cuhk03/     cuhk-03.mat, an HDF5 file of MATLAB's cells, with 6 + 3 people before two pairs of cameras, and the two
            files of the new protocol, which are MAT files of version 5
"""

import io
import pathlib
import pickle
import sys

import h5py
import lmdb
import numpy as np
import scipy.io
from PIL import Image


def colour(*numbers):
    """A colour for a few small numbers; another one for others."""
    seed = 0
    for number in numbers:
        seed = seed * 31 + number + 1
    return (seed * 37 % 256, seed * 91 % 256, seed * 157 % 256)


def encoded(height, width, fill, noise=None):
    pixels = np.full((height, width, 3), fill, np.uint8)
    if noise is not None:
        pixels[1:] = np.random.default_rng(noise).integers(0, 256, (height - 1, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_lmdb(out):
    out.mkdir(parents=True)
    names = []
    environment = lmdb.open(str(out), map_size=1 << 24, writemap=False)
    for country in range(2):
        for video in range(4):
            with environment.begin(write=True) as transaction:
                for image in range(30):
                    name = f"{country:02}_{video % 2:02}_{video:04}_{image:08}"
                    large = image % 10 == 0
                    size = (48, 24) if large else (16, 8)
                    png = encoded(*size, colour(country, video, image), image if large else None)
                    transaction.put(name.encode(), png)
                    names.append(name)
    # A database that was written more than once has free pages and two heads that differ.
    with environment.begin(write=True) as transaction:
        transaction.put(b"00_00_0000_00000001", encoded(16, 8, (1, 2, 3)))
        transaction.put(b"__len__", b"240")
    environment.close()
    (out / "lock.mdb").unlink()
    with open(out / "keys.pkl", "wb") as file:
        pickle.dump(names, file)
    with open(out.parent / "cfs.pkl", "wb") as file:
        pickle.dump([f"images/{name}.jpg" for name in reversed(names[::3])], file, protocol=2)


def write_cuhk03(out):
    """Cells of MATLAB's size people x 10 lie in HDF5 as 10 x people references; pictures as 3 x width x height."""
    out.mkdir(parents=True)
    release = out / "cuhk03_release"
    release.mkdir()
    people = [6, 3]
    listed = {}
    with h5py.File(release / "cuhk-03.mat", "w", userblock_size=512) as file:
        hidden = file.create_group("#refs#")
        counter = 0

        def stored(value, **attributes):
            nonlocal counter
            data = hidden.create_dataset(f"r{counter}", data=value)
            counter += 1
            for name, attribute in attributes.items():
                data.attrs[name] = attribute
            return data.ref

        for boxes in ["detected", "labeled"]:
            pairs = []
            listed[boxes] = []
            for pair, count in enumerate(people):
                cells = np.empty((10, count), h5py.ref_dtype)
                for person in range(count):
                    for image in range(10):
                        # Nobody has all ten pictures; detectors miss one more.
                        has = image % 5 < 3 and not (boxes == "detected" and image == 2 and person == 0)
                        if has:
                            height, width = 20 + person, 10 + image
                            picture = np.empty((height, width, 3), np.uint8)
                            picture[:] = colour(pair, person, image)
                            picture[0, 1] = (255, 0, 7)
                            cells[image, person] = stored(picture.transpose(2, 1, 0))
                            view = 1 if image < 5 else 2
                            listed[boxes].append((pair, person, f"{pair + 1}_{person + 1:03}_{view}_{image + 1:02}.png"))
                        else:
                            cells[image, person] = stored(np.zeros(2, np.uint64), MATLAB_empty=np.uint8(1))
                pairs.append(stored(cells))
            grid = np.empty((1, len(pairs)), h5py.ref_dtype)
            grid[0] = pairs
            file.create_dataset(boxes, data=grid)
        tests = np.empty((1, 20), h5py.ref_dtype)
        for split in range(20):
            # Two people of the first pair and one of the second.
            tested = np.array([[1, 1 + split % 6], [1, 1 + (split + 1) % 6], [2, 1 + split % 3]], float)
            tests[0, split] = stored(tested.T)
        file.create_dataset("testsets", data=tests)
    with open(release / "cuhk-03.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM")

    for boxes, entries in listed.items():
        names = np.empty((len(entries), 1), object)
        labels = np.empty((len(entries), 1))
        parts = {"train_idx": [], "query_idx": [], "gallery_idx": []}
        for at, (pair, person, name) in enumerate(entries):
            names[at, 0] = name
            labels[at, 0] = pair * people[0] + person
            part = "train_idx" if person % 2 == 0 else "query_idx" if name.endswith(("_01.png", "_06.png")) else "gallery_idx"
            parts[part].append(at + 1)
        content = {"filelist": names, "labels": labels, "camId": np.ones((len(entries), 1), np.uint8)}
        content |= {name: np.array(places, float)[:, None] for name, places in parts.items()}
        path = out / f"cuhk03_new_protocol_config_{boxes}.mat"
        scipy.io.savemat(path, content, do_compression=boxes == "labeled")


def write_large(out, pictures):
    out.mkdir(parents=True)
    pngs = [encoded(8, 8, colour(number)) for number in range(256)]
    environment = lmdb.open(str(out), map_size=pictures * 1024 + (1 << 24), sync=False)
    names = []
    with environment.begin(write=True) as transaction:
        for number in range(pictures):
            name = f"{number // 1_000_000:02}_{number // 100_000 % 10:02}_{number // 1000:04}_{number:08}"
            transaction.put(name.encode(), pngs[number % 256], append=False)
            names.append(name)
    environment.close()
    with open(out / "keys.pkl", "wb") as file:
        pickle.dump(names, file)


def main():
    out = pathlib.Path(sys.argv[1])
    if len(sys.argv) > 2:
        write_large(out / "lmdb", int(sys.argv[2]))
        return
    write_lmdb(out / "lmdb")
    write_cuhk03(out / "cuhk03")


main()
