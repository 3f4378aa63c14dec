"""Draw face profiling: a painted face of the builtin model turned to 90°, below with its landmarks.

python docs/profiling_picture.py docs/images/profiling.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from pifa_data.camera import camera, decompose, project, rotation
from pifa_data.drawing import draw_landmarks, label_tile, write_png
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.profiling import FaceTurner
from pifa_data.profiling.raster import rasterise
from pifa_data.schemes import get_scheme

SCHEME, SIDE, TILE = "ibug68", 640, 216
OWN, YAWS = 8.0, (30.0, 50.0, 70.0, 90.0)
SKIN, HAIR, DARK, LIPS, BROWS = (232, 184, 160), (92, 62, 40), (40, 50, 70), (176, 84, 84), (84, 58, 40)


def main() -> None:
    [out] = sys.argv[1:]
    model = load_builtin()
    p = np.zeros(model.n_coefficients)
    p[:3] = 0.8, -0.5, 0.6
    p[len(model.identity) + model.expression_names.index("smile")] = 1.0
    p[len(model.identity) + model.expression_names.index("jaw_open")] = 0.7  # with lips apart, all of them are seen
    m = camera(np.array(SIDE / 420), rotation(*np.radians([OWN, 3.0, -4.0])), np.array([SIDE / 2, SIDE / 2]))
    image = paint(model, m, p)
    turner = FaceTurner(model, SCHEME, size=2 * TILE)
    turned = turner.turn(image, np.concatenate([m.ravel(), p]), "2d", list(np.radians([OWN, *YAWS])))
    rows: list[list[np.ndarray]] = [[], []]
    for yaw, face in zip((OWN, *YAWS), turned, strict=True):
        drawn = draw_landmarks(face.image, face.landmarks, face.visibility == 2, 3.5)
        for row, picture in zip(rows, (face.image, drawn), strict=True):
            tile = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)
            row.append(label_tile(tile, f"yaw {yaw:.0f}") if picture is face.image else tile)
    write_png(Path(out), np.concatenate([np.concatenate(row, 1) for row in rows]))


def paint(model: MorphableModel, m: np.ndarray, p: np.ndarray) -> np.ndarray:
    """``(SIDE, SIDE, 3)`` uint8: a face with hair, eyes, brows and lips before a wall with a grid."""
    image = np.full((SIDE, SIDE, 3), (176, 190, 200), np.uint8)
    for at in range(20, SIDE, 50):
        cv2.line(image, (at, 0), (at, SIDE), (140, 156, 170), 3, cv2.LINE_AA)
        cv2.line(image, (0, at), (SIDE, at), (140, 156, 170), 3, cv2.LINE_AA)

    vertices = model.vertices(p)
    scale, turn, _ = decompose(m)
    points = project(vertices, m)
    x, y, z = model.mean.T
    hairline = 62 + 12 * np.cos(x / 22) - 0.7 * np.maximum(40 - z, 0)
    hair = np.clip((y - hairline) / 6, 0, 1)[:, None]
    light = np.clip(0.45 + 0.6 * model.normals @ turn.T @ np.array([-0.4, 0.4, 0.82]), 0.2, 1.05)[:, None]
    colours = ((1 - hair) * SKIN + hair * HAIR) * light
    drawn = rasterise(points, -scale * vertices @ turn[2], model.triangles, (SIDE, SIDE))
    image[drawn.triangle >= 0] = np.clip(drawn.interpolate(colours, model.triangles), 0, 255)

    places = points[model.landmarks[SCHEME]]
    groups = get_scheme(SCHEME).groups
    for name, colour in (("outer_lip", LIPS), ("inner_lip", (120, 40, 44))):
        fill(image, places[list(groups[name])], colour)
    for side in ("right", "left"):
        lids = places[list(groups[f"{side}_eye"])]
        fill(image, lids, (244, 240, 236))
        opening = np.zeros(image.shape[:2], np.uint8)
        fill(opening, lids, 255)
        iris = np.zeros_like(opening)
        cv2.circle(iris, (int(lids[:, 0].mean()), int(lids[:, 1].mean())), int(6 * scale), 255, -1, cv2.LINE_AA)
        image[(iris > 127) & (opening > 127)] = DARK
        outline = np.round(lids * 16).astype(np.int32)
        cv2.polylines(image, [outline], True, DARK, 2, cv2.LINE_AA, shift=4)
        brow = np.round(places[list(groups[f"{side}_brow"])] * 16).astype(np.int32)
        cv2.polylines(image, [brow], False, BROWS, 9, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(image, (3, 3), 0)


def fill(image: np.ndarray, corners: np.ndarray, colour: tuple[int, int, int] | int) -> None:
    cv2.fillPoly(image, [np.round(corners * 16).astype(np.int32)], colour, cv2.LINE_AA, shift=4)


if __name__ == "__main__":
    main()
