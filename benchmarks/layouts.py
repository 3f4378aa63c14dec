"""The two layouts of a store on the same faces: bytes, speed of reading batches, and how far the crops agree.

    python benchmarks/layouts.py SOURCE MORPHABLE [--faces N] [--picture FILE] [--json FILE]

Both stores are built with the same settings and seed. Batches are read as ``pifa train`` reads them, on the CPU, the
files in the system's cache: the reader's thread decodes ahead, this one cuts crops out of the larger pictures. Rates
are of one epoch, a second of the clock and a second of processor time, which other work on the machine changes less.
``shift`` is by how many pixels the two crops of a row lie beside each other, by least squares on their grey levels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch

from pifa_data.build import PrepConfig
from pifa_data.crop_rows import crop_windows
from pifa_data.store import MORPHABLE, Store
from pifa_model import store_rows
from pifa_model.batches import TrainingStream
from pifa_model.crops import cut_crops
from pifa_model.store_rows import StoreRows
from pipelines.prep import run_prep

BATCH = 32
COMPARED = 2048
"""Rows whose crops are compared."""


def bytes_of(data: StoreRows, *, model: bool = True) -> int:
    """Of a store, with or without its morphable model."""
    sizes = data.store.location.sizes()
    return sum(sizes.values()) - (0 if model else sizes[MORPHABLE])


def rates(data: StoreRows) -> tuple[float, float]:
    """Finished crops a second of the clock and of processor time, over the first epoch of a run."""
    stream = TrainingStream(data, data.rows_of(np.ones(len(data.subjects), bool)), BATCH, seed=0, mirror=0.5)
    clock, processor = time.perf_counter(), time.process_time()
    for batch in stream.read(0, stream.steps_per_epoch):
        if batch.windows is not None:
            pictures = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
            cut_crops(pictures, torch.from_numpy(batch.windows), data.size)
    crops = stream.steps_per_epoch * BATCH
    return crops / (time.perf_counter() - clock), crops / (time.process_time() - processor)


def kept_rates(path: Path) -> dict[str, float]:
    """Rows a second of processor time, uncut, with pictures decoded each time and kept (``store_rows.KEPT``)."""
    found = {}
    for name, kept in (("decoded", 0), ("kept", store_rows.KEPT)):
        with patch.object(store_rows, "KEPT", kept):
            data = StoreRows(Store(path))
        stream = TrainingStream(data, np.flatnonzero(data.valid), BATCH, seed=0, mirror=0.5)
        data.read_pictures(np.flatnonzero(data.valid))
        start = time.process_time()
        for _ in stream.read(0, stream.steps_per_epoch):
            pass
        found[f"rows_{name}_a_processor_second"] = stream.steps_per_epoch * BATCH / (time.process_time() - start)
    return found


def cut_times(data: StoreRows) -> dict[str, float]:
    """Milliseconds of processor time a crop that ``read_images`` cuts so many at a time (``store_rows.CUT``)."""
    rows, found = np.flatnonzero(data.valid), {}
    for count in (1, 4, 16, 64, 256):
        with patch.object(store_rows, "CUT", count):
            start = time.process_time()
            data.read_images(rows)
        found[f"cut_{count}_milliseconds"] = 1e3 * (time.process_time() - start) / len(rows)
    return found


def matched(crops: StoreRows, faces: StoreRows) -> tuple[np.ndarray, np.ndarray]:
    """The valid rows of two stores of the same faces, in the order of (face, copy, mirrored)."""
    rows = []
    for data in (crops, faces):
        valid = np.flatnonzero(data.valid)
        rows.append(valid[np.lexsort((data.mirrored[valid], data.copy[valid], data.source[valid]))])
    return rows[0], rows[1]


def shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``(2,)`` pixels by which crop ``b`` lies beside crop ``a``, both (S, S, 3)."""
    grey, other = (cv2.GaussianBlur(crop.mean(2), (0, 0), 1.5) for crop in (a, b))
    down, right = np.gradient(grey)
    slopes = np.stack([right.ravel(), down.ravel()], axis=1)
    return -np.linalg.lstsq(slopes, (other - grey).ravel(), rcond=None)[0]


def compare(crops: StoreRows, faces: StoreRows) -> tuple[dict[str, float], np.ndarray]:
    """How far the rows of two stores agree, and a picture of some: ``crops``, ``faces``, 4 times their difference."""
    left, right = matched(crops, faces)
    share = faces.store.layout.image_size / faces.size
    face_boxes = faces.store.read("faces/box")[faces.source[right]]
    windows = crop_windows(faces.boxes[right], faces.mirrored[right], face_boxes, faces.grow, share)
    some = np.random.default_rng(0).permutation(len(left))[:COMPARED]
    left, right = left[some], right[some]
    labels = faces.labels(right)
    stored = {name: crops.store.read(name)[left] for name in ("params", "landmarks")}
    a, b = crops.read_images(left), faces.read_images(right)
    away = np.abs(a.astype(np.int16) - b)
    noise = (away.astype(np.float32) ** 2).mean((1, 2, 3))
    ratio = 10 * np.log10(255**2 / np.maximum(noise, 1e-3))
    jittered = crops.copy[left] > 0
    result = {
        "params_largest_difference": float(np.abs(labels.params - stored["params"]).max()),
        "landmarks_largest_difference": float(np.abs(labels.landmarks - stored["landmarks"]).max()),
        "unjittered_mean_difference": float(away[~jittered].mean()),
        "jittered_mean_difference": float(away[jittered].mean()),
        "jittered_psnr": float(ratio[jittered].mean()),
        "jittered_psnr_5_percent": float(np.percentile(ratio[jittered], 5)),
        "jittered_psnr_worst": float(ratio[jittered].min()),
        "shift_mean": float(np.mean([np.linalg.norm(shift(*pair)) for pair in zip(a[::7], b[::7], strict=True)])),
        "crops_beyond_the_picture": float((np.abs(windows) > 1).any(1).mean()),
    }
    shown = np.argsort(ratio)[np.linspace(0, len(ratio) - 1, 8).astype(int)]
    sheet = [np.concatenate([a[i], b[i], (4 * away[i]).clip(0, 255).astype(np.uint8)], axis=1) for i in shown]
    return result, np.concatenate(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("morphable")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--picture", type=Path, help="a PNG of crops of both layouts, the worst first")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stores = {}
        for layout in ("crops", "faces"):
            path, config = Path(folder) / layout, PrepConfig(layout=layout)
            run_prep([options.source], path, morphable=options.morphable, config=config, limit=options.faces)
            stores[layout] = StoreRows(Store(path))
        crops, faces = stores["crops"], stores["faces"]
        result = {
            "crops": len(crops.valid),
            **{f"{layout}_bytes": bytes_of(data) for layout, data in stores.items()},
            "times_smaller": bytes_of(crops) / bytes_of(faces),
            "times_smaller_but_for_the_model": bytes_of(crops, model=False) / bytes_of(faces, model=False),
        }
        for layout, data in stores.items():
            result[f"{layout}_a_second"], result[f"{layout}_a_processor_second"] = rates(data)
        result |= kept_rates(Path(folder) / "faces") | cut_times(faces)
        agreement, sheet = compare(crops, faces)
    result |= agreement
    for key, value in result.items():
        print(f"{key:32} {value:.3g}" if isinstance(value, float) else f"{key:32} {value}")
    if options.picture:
        cv2.imwrite(str(options.picture), sheet[..., ::-1])
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
