"""A small made-up data set: a head-like morphable model and rendered faces of it with exact landmarks.

    python tests/synthetic.py OUTDIR [--faces N] [--seed S]

writes ``OUTDIR/model.safetensors`` and ``OUTDIR/faces/`` (``keypoints.csv`` and ``images/``), the same bytes for the
same arguments. Tests use it where no real data is; it imports only NumPy, OpenCV and ``pifa_data``.

The head is a grid of rows (heights) and columns (angles about the vertical axis): a column and its negative are mirror
images, so landmarks are chosen on the subject's right (image left, x < 0) and mirrored. Units are centimetres.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_mesh
from pifa_data.fitting import silhouette
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.contours import contour_lines
from pifa_data.schemes import get_scheme

SCHEME = "ibug68"
IMAGES_A_PERSON = 3
HEIGHTS = np.r_[11.35, 10.8, 9.9, 8.8, 7.8, np.linspace(6.8, -8.7, 25), -9.3]
_FRONT, _BACK = np.linspace(0, 84, 18), np.linspace(84, 180, 9)[1:-1]
ANGLES = np.radians(np.r_[-_BACK[::-1], -_FRONT[:0:-1], _FRONT, _BACK])

# Landmarks of the subject's right half as (x, y) centimetres of a frontal face; the jaw as (degrees, y).
_JAW = [(-80, 2), (-77, 0.3), (-72, -1.5), (-65, -3.3), (-56, -5), (-45, -6.3), (-32, -7.4), (-17, -8.1), (0, -8.7)]
_RIGHT = {
    **{17 + i: at for i, at in enumerate([(-5.6, 4.2), (-4.7, 4.9), (-3.7, 5.2), (-2.5, 4.9), (-1.4, 4.3)])},
    **{27 + i: (0, y) for i, y in enumerate([2.4, 1.2, 0.2, -0.9])},
    **{31: (-1.5, -1.9), 32: (-0.8, -2.1), 33: (0, -2.4)},
    **{36: (-4.6, 2.3), 37: (-3.7, 2.9), 38: (-2.7, 2.9), 39: (-1.9, 2.3), 40: (-2.8, 1.6), 41: (-3.8, 1.6)},
    **{48: (-2.7, -4.5), 49: (-1.9, -3.8), 50: (-0.7, -3.4), 51: (0, -3.5)},
    **{57: (0, -6.1), 58: (-1, -5.9), 59: (-2, -5.4)},
    **{60: (-2.0, -4.5), 61: (-1.0, -4.1), 62: (0, -4.1), 66: (0, -4.9), 67: (-1.0, -4.9)},
}


@dataclass(frozen=True)
class Sample:
    """One rendered face: ``image`` (H, W, 3) uint8 RGB, ``landmarks`` (68, 2) pixels, ``camera`` (2, 4), ``p`` (K,)."""

    name: str
    image: np.ndarray
    landmarks: np.ndarray
    camera: np.ndarray
    p: np.ndarray


def make_model() -> MorphableModel:
    """The head: about 1,500 vertices, 6 identity and 3 expression modes."""
    mean = _surface()
    bare = MorphableModel(
        name="synthetic",
        mean=mean.astype(np.float32),
        identity=_identity(mean).astype(np.float32),
        expression=_expression(mean).astype(np.float32),
        triangles=_triangles(),
        landmarks={SCHEME: _landmarks(mean)},
        contours={},
        nose_tip=int(_landmarks(mean)[30]),
        units="centimetre",
        licence="MIT",
        source="tests/synthetic.py",
        expression_names=("mouth_open", "smile", "brows_up"),
    )
    scheme = get_scheme(SCHEME)
    lines = contour_lines(bare.mean, bare.normals, bare.landmarks[SCHEME], scheme.contour, bare.nose_tip)
    return replace(bare, contours={SCHEME: lines})


def _bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def _surface() -> np.ndarray:
    y, angle = (grid.ravel() for grid in np.meshgrid(HEIGHTS, ANGLES, indexing="ij"))
    # A superellipse over the height, so that forehead and chin are steeper than on an ellipsoid.
    shrink = (1 - (np.abs(y - 1) / 10.6) ** 2.4) ** (1 / 2.4)
    taper = 1 - 0.22 * np.clip((-1 - y) / 7, 0, 1)  # the jaw is narrower than the temples
    x, z = 7.4 * shrink * taper * np.sin(angle), 9.0 * shrink * np.cos(angle)
    front = np.clip(z / 4, 0, 1)
    relief = 2.0 * _bump(x, y, 0, -1.0, 1.1, 1.1) + 0.9 * _bump(x, y, 0, 0.8, 0.8, 1.6)  # nose and its ridge
    relief += 0.7 * _bump(x, y, 0, -4.5, 2.4, 1.5) + 1.8 * _bump(x, y, 0, -8.2, 3.0, 1.8)  # lips, chin
    for side in (-1, 1):
        relief += 0.5 * _bump(x, y, 3.4 * side, 4.8, 2.4, 0.8) - 0.6 * _bump(x, y, 3.2 * side, 2.3, 1.6, 1.1)
    ends = [[0.0, 11.6, 0.0], [0.0, -9.5, 0.0]]
    return np.concatenate([np.stack([x, y, z + relief * front], axis=1), ends])


def _triangles() -> np.ndarray:
    rows, columns = len(HEIGHTS), len(ANGLES)
    triangles = []
    for j in range(columns):
        k = (j + 1) % columns  # to the image's right in front; rows run downwards
        for i in range(rows - 1):
            a, b, c, d = i * columns + j, (i + 1) * columns + j, (i + 1) * columns + k, i * columns + k
            triangles += [[a, b, c], [a, c, d]]
        triangles += [[rows * columns, j, k], [rows * columns + 1, (rows - 1) * columns + k, (rows - 1) * columns + j]]
    return np.array(triangles, dtype=np.int32)


def _landmarks(mean: np.ndarray) -> np.ndarray:
    columns = len(ANGLES)
    front = mean[:-2, 2] > 0
    chosen = np.full(68, -1, dtype=np.int32)
    for i, (degrees, y) in enumerate(_JAW):
        row, column = np.abs(HEIGHTS - y).argmin(), np.abs(ANGLES - np.radians(degrees)).argmin()
        chosen[i] = row * columns + column
    for i, (x, y) in _RIGHT.items():
        away = np.hypot(mean[:-2, 0] - x, mean[:-2, 1] - y)
        away[~front | np.isin(np.arange(len(away)), chosen)] = np.inf
        chosen[i] = away.argmin()
    mirror = get_scheme(SCHEME).mirror
    for i in np.flatnonzero(chosen < 0):
        row, column = divmod(int(chosen[mirror[i]]), columns)
        chosen[i] = row * columns + columns - 1 - column
    return chosen


def _identity(mean: np.ndarray) -> np.ndarray:
    x, y, z = mean.T
    zero = np.zeros_like(x)
    lower, front = np.clip((1 - y) / 9, 0, 1), np.clip(z / 6, 0, 1)
    modes = [
        (0.045 * x, zero, zero),  # width
        (zero, 0.04 * (y - 1), zero),  # height
        (zero, zero, 0.05 * z),  # depth
        (0.09 * x * lower, -0.25 * lower, zero),  # jaw
        (zero, zero, 0.6 * _bump(x, y, 0, -0.6, 1.6, 2.0) * front),  # nose
        (0.3 * np.sign(x) * np.minimum(np.abs(x), 3) / 3 * front, 0.35 * _bump(x, y, 0, 4, 6, 3) * front, zero),  # eyes
    ]
    return np.stack([np.stack(mode, axis=1) for mode in modes])


def _expression(mean: np.ndarray) -> np.ndarray:
    x, y, z = mean.T
    zero, front = np.zeros_like(x), np.clip(z / 6, 0, 1)
    jaw = np.clip((-4.2 - y) / 1.6, 0, 1) * front
    corners = _bump(np.abs(x), y, 2.6, -4.5, 1.4, 1.4) * front
    brows = _bump(np.abs(x), y, 3.4, 4.8, 2.6, 1.0) * front
    modes = [
        (zero, -0.6 * jaw, -0.15 * jaw),
        (0.5 * np.sign(x) * corners, 0.35 * corners, -0.2 * corners),
        (zero, 0.45 * brows, zero),
    ]
    return np.stack([np.stack(mode, axis=1) for mode in modes])


def project_landmarks(model: MorphableModel, view: np.ndarray, p: np.ndarray, kind: str = "2d") -> np.ndarray:
    """The labels of a face: ``(68, 2)`` pixels through the ``(2, 4)`` camera; ``2d`` jaws lie on the silhouette."""
    points = project(model.vertices(p), view)
    landmarks = points[model.landmarks[SCHEME]]
    if kind == "2d":
        lines = model.contours[SCHEME]
        at = silhouette(points[lines.vertices][None], view[None], lines.side)[0]
        landmarks[lines.points] = points[lines.vertices[np.arange(len(at)), at]]
    return landmarks


def random_view(rng: np.random.Generator, size: int, largest_yaw: float = 40.0) -> np.ndarray:
    """A random ``(2, 4)`` camera that keeps the head inside an image of ``size`` pixels."""
    yaw, pitch, roll = np.radians([rng.uniform(-largest_yaw, largest_yaw), rng.uniform(-15, 15), rng.uniform(-15, 15)])
    scale = size / rng.uniform(27, 33)
    at = size / 2 + rng.uniform(-0.03, 0.03, 2) * size
    return camera(np.array(scale), rotation(yaw, pitch, roll), at)


def _picture(model: MorphableModel, rng: np.random.Generator, view: np.ndarray, p: np.ndarray, size: int) -> np.ndarray:
    clouds = rng.uniform(20, 235, (6, 6, 3)).astype(np.float32)
    background = cv2.resize(clouds, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    vertices = model.vertices(p)
    points = project(vertices, view)
    turn = rotation_rows(view)
    head = draw_mesh(np.zeros_like(background), points, -(vertices @ turn[2]), model.triangles, 1.0)
    cover = head.any(axis=2, keepdims=True)
    tone = np.array([1.0, 0.82, 0.7]) * rng.uniform(0.7, 1.0)
    skin = (head * tone).astype(np.uint8)
    facing = model.normals[model.landmarks[SCHEME]] @ turn[2]
    places = points[model.landmarks[SCHEME]]
    # Eyes, brows and lips, so that there is something to learn; a part that looks away is left out.
    for group, colour in {
        "right_eye": (50, 60, 80),
        "left_eye": (50, 60, 80),
        "outer_lip": (150, 60, 60),
        "inner_lip": (70, 20, 25),
        "right_brow": (60, 40, 25),
        "left_brow": (60, 40, 25),
    }.items():
        members = list(get_scheme(SCHEME).groups[group])
        if facing[members].mean() > 0.15:
            corners = np.round(places[members] * 16).astype(np.int32)
            if group.endswith("brow"):
                cv2.polylines(skin, [corners], False, colour, max(1, size // 70), cv2.LINE_AA, shift=4)
            else:
                cv2.fillPoly(skin, [corners], colour, cv2.LINE_AA, shift=4)
    picture = np.where(cover, skin, background)
    return (picture + rng.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def rotation_rows(view: np.ndarray) -> np.ndarray:
    """``(3, 3)`` rotation of a ``(2, 4)`` camera that is a scaled rotation."""
    rows = view[:, :3] / np.linalg.norm(view[:, :3], axis=1, keepdims=True) * [[1.0], [-1.0]]
    return np.concatenate([rows, np.cross(rows[0], rows[1])[None]])


def make_samples(model: MorphableModel, faces: int, seed: int = 0) -> list[Sample]:
    """Rendered faces, ``IMAGES_A_PERSON`` of each person; the last one of each is of the test split, as in YTF."""
    samples = []
    for number in range(faces):
        person, frame = divmod(number, IMAGES_A_PERSON)
        identity = np.random.default_rng([seed, person]).normal(size=len(model.identity)).clip(-2, 2)
        rng = np.random.default_rng([seed, person, frame])
        p = np.r_[identity, rng.normal(size=len(model.expression)).clip(-2, 2)]
        size = int(rng.integers(140, 260))
        view = random_view(rng, size)
        split = "test" if frame == IMAGES_A_PERSON - 1 else "training"
        letters = chr(65 + person % 26) * (1 + person // 26)
        image = _picture(model, rng, view, p, size)
        name = f"{split}_Person_{letters}_{frame + 1:02d}.jpg"
        samples.append(Sample(name, image, project_landmarks(model, view, p), view, p))
    return samples


def make_dataset(folder: Path, faces: int = 24, seed: int = 0) -> list[Sample]:
    """Write the model and the faces into ``folder``."""
    images = folder / "faces" / "images"
    images.mkdir(parents=True, exist_ok=True)
    model = make_model()
    model.save(folder / "model.safetensors")
    samples = make_samples(model, faces, seed)
    with (folder / "faces" / "keypoints.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *range(136)])
        for sample in samples:
            writer.writerow([sample.name, *(f"{v:.2f}" for v in sample.landmarks.ravel())])
            done, data = cv2.imencode(".jpg", sample.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            if not done:
                raise OSError(f"{sample.name}: the image can't be encoded")
            (images / sample.name).write_bytes(data.tobytes())
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a small made-up data set of faces.")
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--faces", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_dataset(arguments.outdir, arguments.faces, arguments.seed)
    print(f"{arguments.outdir}: {arguments.faces} faces")


if __name__ == "__main__":
    main()
