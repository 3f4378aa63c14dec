"""Draw the boxes of a face's 20 copies, tight and as a detector's, and the first crops that they mean.

python docs/jitter_picture.py docs/images/jitter.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import BOXES, detector_box, face_rng, jitter_box, square_of, tight_box
from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import draw_mesh, label_tile, write_png
from pifa_data.fitting import landmarks_of
from pifa_data.images import crop_image
from pifa_data.morphable import load_builtin

SIZE, HEAD = 240, 340.0  # pixels of a tile, and the mm that it shows
COPIES, CROPS = 20, 5
WHITE, GREEN = (255, 255, 255), (90, 190, 90)
SCENES = (("tight", 0.0), ("tight", 35.0), ("detector", 0.0), ("detector", 35.0))


def scene(kind: str, degrees: float) -> np.ndarray:
    """A tile with the boxes, above two rows of crops; copy 0 is white."""
    model, scale, turn = load_builtin(), SIZE / HEAD, rotation(np.radians(degrees), 0.0, 0.0)
    view = camera(np.array(scale), turn, np.array([SIZE / 2, SIZE / 2]))
    view[:, 3] -= view[:, :3] @ [0.0, model.mean[model.nose_tip][1] + 15.0, 20.0]
    p = np.zeros(model.n_coefficients)
    vertices = model.vertices(p)
    empty = np.full((SIZE, SIZE, 3), 24, np.uint8)
    image = draw_mesh(empty, project(vertices, view), -scale * vertices @ turn[2], model.triangles, 1.0)
    points = landmarks_of(model, "ibug68", np.r_[view.ravel(), p][None], "2d")[0]
    box = tight_box(points, np.ones(len(points)))
    if kind == "detector":
        box = detector_box(box, np.radians(degrees))
    how = BOXES[kind]
    copies = [box, *(jitter_box(box, face_rng(0, "face", c), how.shift, how.scale) for c in range(1, COPIES))]
    drawn = image.copy()
    for copy in reversed(copies):
        corners = [tuple(np.round((corner + 0.5) * 16 - 8).astype(int).tolist()) for corner in (copy[:2], copy[2:])]
        cv2.rectangle(drawn, *corners, WHITE if copy is box else GREEN, 2 if copy is box else 1, cv2.LINE_AA, shift=4)
    crops = [crop_image(image, square_of(copy, how.grow, SIZE // CROPS)) for copy in copies[: 2 * CROPS]]
    rows = [np.concatenate(crops[row : row + CROPS], axis=1) for row in (0, CROPS)]
    return np.concatenate([label_tile(drawn, f"{kind}, yaw {degrees:.0f}"), *rows])


def main() -> None:
    [out] = sys.argv[1:]
    tiles = [np.pad(scene(*which), ((2, 2), (2, 2), (0, 0))) for which in SCENES]
    write_png(Path(out), np.concatenate(tiles, 1))


if __name__ == "__main__":
    main()
