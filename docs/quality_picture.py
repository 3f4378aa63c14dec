"""The README's strip of good and bad results, chosen by a rule: faces in the order of their error, every tenth part.

python docs/quality_picture.py CHECKPOINT SOURCE OUT.png [--photos] [--parts 10] [--worst N]

The first tile is the best face of SOURCE, the last one the worst, those between at 10 %, 20 %, … of the faces. Boxes
are those of ``pifa eval --boxes jittered``. Labelled points are green, the network's are joined to them by red lines.
Without ``--photos`` the network's 3D face stands in for the photograph, for data sets whose pictures may not be handed
on. ``--worst N`` shows the N worst faces instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from pifa_data.boxes import tight_box
from pifa_data.drawing import contact_sheet, label_tile, write_png
from pifa_data.faces import Face
from pifa_data.images import crop_image, read_image
from pifa_data.mesh import normal_picture
from pifa_data.schemes import get_scheme
from pifa_model import Aligner, Alignment
from pifa_model.metrics import face_errors
from pipelines.eval_collect import jittered_box
from pipelines.eval_measure import truth_of
from pipelines.sources import load_faces
from pipelines.tiles import square_around

TILE = 240
"""Pixels of a tile's sides."""

_LIGHT = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])


def aligned(aligner: Aligner, face: Face) -> Alignment:
    """What is found in the jittered box of a face."""
    box = jittered_box(tight_box(face.landmarks, face.visibility), face.id)
    return aligner(read_image(face.image), [box])[0]


def shaded(aligner: Aligner, found: Alignment, shape: tuple[int, int]) -> np.ndarray:
    """The 3D face on grey, ``(*shape, 3)`` uint8."""
    normals = normal_picture([aligner.mesh(found)], shape)
    lit = ((normals.astype(float) / 127.5 - 1) @ _LIGHT).clip(0, 1) * normals.any(2)
    return np.repeat((40 + 150 * lit[..., None]).astype(np.uint8), 3, axis=2)


def tile(face: Face, error: float, points: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """One face with labels and results."""
    square = square_around(face.landmarks, points, TILE)
    picture, shift = crop_image(ground, square), 16
    fixed = lambda p: tuple(int(v) for v in (p * shift).round())  # noqa: E731
    for label, point in zip(square.to_crop(face.landmarks), square.to_crop(points), strict=True):
        cv2.line(picture, fixed(label), fixed(point), (255, 60, 60), 1, cv2.LINE_AA, 4)
        cv2.circle(picture, fixed(label), 2 * shift, (60, 255, 60), -1, cv2.LINE_AA, 4)
    return label_tile(picture, f"{error:.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", action="store_true")
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    aligner = Aligner.load(options.checkpoint)
    faces, _ = load_faces([options.source])
    results = [aligned(aligner, face) for face in faces]
    points = np.stack([found.landmarks for found in results]).astype(np.float64)
    errors = face_errors(points, truth_of(faces), "tight", get_scheme(aligner.scheme))
    order = np.argsort(errors, kind="stable")
    places = np.linspace(0, len(order) - 1, options.parts + 1).round().astype(int)
    tiles = []
    for i in order[::-1][: options.worst] if options.worst else order[places]:
        photo = read_image(faces[i].image)
        ground = photo if options.photos else shaded(aligner, results[i], photo.shape[:2])
        tiles.append(tile(faces[i], errors[i], points[i], ground))
    write_png(options.out, contact_sheet(tiles, min(len(tiles), 6)))


if __name__ == "__main__":
    main()
