"""Draw the builtin model: from 0°, 45° and 90°, and below some of its modes.

python docs/builtin_picture.py docs/images/builtin.png
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_mesh, label_tile
from pifa_data.morphable import load_builtin

WIDTH = 1080
HEAD, FACE = 300.0, 190.0  # mm that a tile shows
IDENTITIES, IDENTITY_SIZE = (0, 1, 2), 2.0
EXPRESSIONS = {"jaw_open": 3.0, "smile": 2.0, "blink": 4.0}  # standard deviations


def tile(p: np.ndarray, yaw: float, size: int, shown: float, text: str) -> np.ndarray:
    """``(size, size, 3)`` uint8: the face of coefficients p."""
    model = load_builtin()
    vertices, turn = model.vertices(p), rotation(np.radians(yaw), 0.0, 0.0)
    large = 2 * size  # drawn at twice the size, for smooth edges
    scale = large / shown
    view = camera(np.array(scale), turn, np.zeros(2))
    nose = model.mean[model.nose_tip]
    # A head turns about a line before the ears, a face about its middle.
    middle = np.array([0.0, nose[1] + 20.0, 5.0]) if shown == HEAD else np.array([0.0, nose[1] - 5.0, 40.0])
    view[:, 3] = large / 2 - view[:, :3] @ middle
    empty = np.full((large, large, 3), 24, np.uint8)
    drawn = draw_mesh(empty, project(vertices, view), -scale * vertices @ turn[2], model.triangles, 1.0)
    return label_tile(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA), text)


def main() -> None:
    [out] = sys.argv[1:]
    model = load_builtin()

    def face(mode: int, size: float, name: str) -> np.ndarray:
        p = np.zeros(model.n_coefficients)
        p[mode] = size
        return tile(p, 15, WIDTH // 6, FACE, f"{name} +{size:.0f} sd")

    mean = np.zeros(model.n_coefficients)
    first = [tile(mean, yaw, WIDTH // 3, HEAD, f"yaw {yaw}") for yaw in (0, 45, 90)]
    second = [face(mode, IDENTITY_SIZE, f"mode {mode + 1}") for mode in IDENTITIES]
    for name, size in EXPRESSIONS.items():
        second.append(face(len(model.identity) + model.expression_names.index(name), size, name))
    picture = np.concatenate([np.concatenate(first, 1), np.concatenate(second, 1)])
    # One channel: the picture is grey.
    if not cv2.imwrite(out, picture[..., 0], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        sys.exit(f"{out}: can't be written")


if __name__ == "__main__":
    main()
