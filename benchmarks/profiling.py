"""What turning a face costs, how true it is, and the pictures to look at.

    python benchmarks/profiling.py SOURCE... [--faces N] [--morphable NAME] [--sheet OUT.png] [--json FILE]

Cost: seconds of one core for what is done once a face, and for each view, as a multiple of decoding the image.
Truth: a face turned by nothing against the image itself (PSNR within the image). Folds: how far behind other skin the
lips' landmarks of near-frontal faces lie, all of which are seen, and all inner ones of faces turned to 60° and 90°:
``HIDDEN`` in ``pifa_data/profiling/seen.py`` stands between the two. The sheet has faces as they are and at 30°, 60°
and 90°, hidden landmarks red. Sources of 68 points, ``ibug68``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.boxes import Square, box_size, square_of
from pifa_data.camera import pose_angles
from pifa_data.drawing import contact_sheet, draw_landmarks, label_tile, write_png
from pifa_data.fitting import LandmarkFitter
from pifa_data.images import CropSource, read_image
from pifa_data.labels import fit_faces
from pifa_data.profiling import FaceTurner, TurnedFace
from pifa_data.profiling.seen import farthest
from pifa_data.profiling.turner import GROW
from pipelines.sources import find_model, load_faces

SCHEME, INNER, LIPS = "ibug68", slice(17, None), slice(48, None)
ANGLES = np.radians([30.0, 60.0, 90.0])
FRONTAL = np.radians(8.0)
ON_SHEET = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--morphable", default="builtin")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    model = find_model(arguments.morphable)
    faces, _ = load_faces(arguments.sources)
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, arguments.faces).astype(int))]
    fits = fit_faces(faces, LandmarkFitter(model, SCHEME))
    turner = FaceTurner(model, SCHEME)

    decode, one, three, truth, tiles = [], [], [], [], []
    folds: dict[str, list[np.ndarray]] = {"frontal": [], "turned": []}
    for face, params, angles in zip(faces, fits.params, pose_angles(fits.cameras), strict=True):
        own = float(angles[0])
        yaws = [float(np.copysign(yaw, own)) for yaw in ANGLES if yaw > abs(own)]
        seconds, image = timed(read_image, face.image)
        decode.append(seconds)
        seconds, [same] = timed(turner.turn, image, params, face.kind, [own])
        one.append(seconds)
        truth.append(likeness(image, params, same))
        seconds, turned = timed(turner.turn, image, params, face.kind, yaws)
        if len(yaws) == len(ANGLES):
            three.append(seconds)
        if abs(own) < FRONTAL:
            folds["frontal"].append(depths_behind(turner, params, same, LIPS))
        folds["turned"] += [depths_behind(turner, params, view, INNER) for view in turned[-2:]]
        if len(tiles) < ON_SHEET * (len(ANGLES) + 1):
            blank = [np.zeros_like(same.image)] * (len(ANGLES) - len(turned))
            drawn = [draw_landmarks(view.image, view.landmarks, view.visibility == 2) for view in turned]
            tiles += [label_tile(same.image, f"{face.id[:28]} {np.degrees(own):.0f}"), *blank, *drawn]

    view = (np.median(three) - np.median(one)) / (len(ANGLES) - 1)
    frontal, turned_folds = (np.concatenate(folds[name]) for name in ("frontal", "turned"))
    found = {
        "faces": len(faces),
        "decode_ms": 1e3 * np.median(decode),
        "face_ms": 1e3 * (np.median(one) - view),
        "view_ms": 1e3 * view,
        "view_over_decode": view / np.median(decode),
        "psnr_median": np.median(truth),
        "psnr_lowest": min(truth),
        "frontal_fold_99.9": np.percentile(frontal, 99.9),
        "turned_0.02_to_0.06": np.mean((turned_folds > 0.02) & (turned_folds < 0.06)),
        "turned_beyond_0.06": np.mean(turned_folds >= 0.06),
    }
    for name, value in found.items():
        print(f"{name:22s} {value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({name: float(value) for name, value in found.items()}, indent=1))
    if arguments.sheet:
        write_png(arguments.sheet, contact_sheet(tiles, 2 * (len(ANGLES) + 1)))


def timed(work: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    start = time.process_time()
    result = work(*arguments)
    return time.process_time() - start, result


def likeness(image: np.ndarray, params: np.ndarray, same: TurnedFace) -> float:
    """PSNR of a face turned by nothing, a pixel and more from the image's edge."""
    own, new = (p[:8].reshape(2, 4) for p in (params, same.params))
    size = len(same.image)
    k = np.linalg.norm(new[0, :3]) / np.linalg.norm(own[0, :3])
    x, y = ((size - 1) / 2 - (new[:, 3] - k * own[:, 3])) / k
    square = Square(float(x), float(y), float(size / k), size)
    crop = CropSource(image, square).crop(square)
    inside = cv2.erode(crop.any(2).astype(np.uint8), np.ones((5, 5))) > 0
    return float(10 * np.log10(255**2 / ((same.image.astype(float) - crop)[inside] ** 2).mean()))


def depths_behind(turner: FaceTurner, params: np.ndarray, turned: TurnedFace, which: slice) -> np.ndarray:
    """How far landmarks lie behind the skin that is seen there, over √(w·h) of the tight box."""
    view = turner._look(turner._mesh.vertices(params[8:]), turned.params[:8].reshape(2, 4), "3d")
    square = square_of(view.box, GROW, turner.size)
    near = farthest(turner._draw(view, square).depth, 1)
    skin = view.skin[view.landmarks[which]]
    column, row = np.round(square.to_crop(skin[:, :2])).astype(int).T
    return (skin[:, 2] - near[row, column]) / box_size(view.box)


if __name__ == "__main__":
    main()
