"""The two layouts of a store on the same faces: bytes, speed of reading batches, and how far the crops agree.

    python benchmarks/layouts.py SOURCE MORPHABLE [--faces N] [--batches N] [--picture FILE] [--json FILE]

Both stores are built with the same settings and seed. Batches are read as ``pifa train`` reads them, on the CPU, the
files in the system's cache: the reader's thread decodes ahead, this one cuts crops out of the larger pictures. The
machines are shared: compare rates within one run. ``shift`` is the displacement between two crops of the same row by
least squares on their grey levels, which a wrong half pixel would show as 0.5.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from pifa_data.build import PrepConfig
from pifa_data.store import Store
from pifa_model.batches import TrainingStream
from pifa_model.crops import cut_crops
from pifa_model.store_rows import StoreRows
from pipelines.prep import run_prep

BATCH = 32
COMPARED = 2048
"""Rows whose crops are compared."""


def build(source: str, morphable: str, faces: int, path: Path, layout: str) -> tuple[StoreRows, int]:
    """A store of a layout, and its bytes on disk."""
    config = PrepConfig(layout=layout)
    summary = run_prep([source], path, morphable=morphable, config=config, limit=faces)
    return StoreRows(Store(path)), summary.store_bytes


def rate(data: StoreRows, batches: int, *, passes: int = 3) -> float:
    """Finished crops a second, the best of several goes: other work on the machine only ever slows one down."""
    stream = TrainingStream(data, data.rows_of(np.ones(len(data.subjects), bool)), BATCH, seed=0, mirror=0.5)
    best = 0.0
    for _ in range(passes):
        start = time.perf_counter()
        for batch in stream.read(0, batches):
            if batch.windows is not None:
                pictures = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
                cut_crops(pictures, torch.from_numpy(batch.windows), data.size)
        best = max(best, batches * BATCH / (time.perf_counter() - start))
    return best


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
    some = np.random.default_rng(0).permutation(len(left))[:COMPARED]
    left, right = left[some], right[some]
    labels = faces.labels(right)
    stored = {name: crops.store.read(name)[left] for name in ("params", "landmarks")}
    a, b = crops.read_images(left), faces.read_images(right)
    away = np.abs(a.astype(np.int16) - b)
    noise = (away.astype(np.float32) ** 2).mean((1, 2, 3))
    ratio = 10 * np.log10(255**2 / np.maximum(noise, 1e-3))
    jittered = crops.copy[left] > 0
    windows = np.abs(faces.batch(right, a, np.zeros(len(right), bool)).windows)
    result = {
        "params_largest_difference": float(np.abs(labels.params - stored["params"]).max()),
        "landmarks_largest_difference": float(np.abs(labels.landmarks - stored["landmarks"]).max()),
        "unjittered_mean_difference": float(away[~jittered].mean()),
        "jittered_mean_difference": float(away[jittered].mean()),
        "jittered_psnr": float(ratio[jittered].mean()),
        "jittered_psnr_5_percent": float(np.percentile(ratio[jittered], 5)),
        "jittered_psnr_worst": float(ratio[jittered].min()),
        "shift_mean": float(np.mean([np.linalg.norm(shift(*pair)) for pair in zip(a[::7], b[::7], strict=True)])),
        "crops_beyond_the_picture": float((windows > 1).any(1)[jittered].mean()),
    }
    shown = np.argsort(ratio)[np.linspace(0, len(ratio) - 1, 8).astype(int)]
    sheet = [np.concatenate([a[i], b[i], (4 * away[i]).clip(0, 255).astype(np.uint8)], axis=1) for i in shown]
    return result, np.concatenate(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("morphable")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--picture", type=Path, help="a PNG of crops of both layouts, the worst first")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        crops, crops_bytes = build(options.source, options.morphable, options.faces, Path(folder) / "crops", "crops")
        faces, faces_bytes = build(options.source, options.morphable, options.faces, Path(folder) / "faces", "faces")
        agreement, sheet = compare(crops, faces)
        rates = {data: rate(data, options.batches) for data in (crops, faces)}
    result = {
        "crops": len(crops.valid),
        "crops_bytes": crops_bytes,
        "faces_bytes": faces_bytes,
        "times_smaller": crops_bytes / faces_bytes,
        "crops_read_per_second": rates[crops],
        "faces_read_per_second": rates[faces],
        **agreement,
    }
    for key, value in result.items():
        print(f"{key:30} {value:.3g}" if isinstance(value, float) else f"{key:30} {value}")
    if options.picture:
        cv2.imwrite(str(options.picture), sheet[..., ::-1])
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
