"""A simulated source of any size: faces of the built-in model, each with a name of its own, over a few plain images."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from pifa_data.camera import camera, rotation
from pifa_data.fitting import landmarks_of
from pifa_data.morphable import load_builtin

IMAGES, SIDE, FACE = 32, 256, 120.0
"""Different images, their side in pixels, and about how large a face is in them."""


def make_source(folder: Path, faces: int, seed: int = 0, *, images: bool = True) -> str:
    """Write ``keypoints.csv`` and ``images/``; returns the source's name. Images are hard links to a few files."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    model = load_builtin()
    rows = []
    for i in range(IMAGES):
        # A gradient: it decodes and compresses as little as can be, so that what is left is this program's work.
        shade = np.linspace(60, 180, SIDE, dtype=np.float32)[None, :, None] + np.zeros((SIDE, 1, 3), np.float32)
        cv2.imwrite(str(folder / f"{i}.jpg"), np.roll(shade, i, axis=1).astype(np.uint8))
        turn = rotation(*rng.normal(0, np.radians([25, 10, 10])))
        height = float(np.ptp(model.mean[model.landmarks["ibug68"], 1]))
        m = camera(np.array(FACE / height), turn, np.array([SIDE / 2, SIDE / 2]))
        p = rng.standard_normal(model.n_coefficients) * 0.7
        params = np.concatenate([m.ravel(), p])[None]
        rows.append(landmarks_of(model, "ibug68", params, "2d")[0] + rng.normal(0, 1, (68, 2)))
    texts = [",".join(f"{v:.2f}" for v in points.ravel()) for points in rows]
    with (folder / "keypoints.csv").open("w", encoding="utf-8") as file:
        for i in range(faces):
            if images:
                os.link(folder / f"{i % IMAGES}.jpg", folder / "images" / f"{i:07d}.jpg")
            file.write(f"{i:07d}.jpg,{texts[i % IMAGES]}\n")
    return f"keypoints-csv:{folder}"
