"""Draw what the network does to one face, block by block (as the paper's figure 10).

    python docs/pictures.py CHECKPOINT IMAGE X0 Y0 X1 Y1 OUT.png

First row: the crop with the landmarks of P⁰ and after each block. Second row: the map V that each block is given, and
the final 3D face over the crop.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from pifa_data.boxes import check_box, square_of
from pifa_data.camera import decompose, project
from pifa_data.drawing import draw_landmarks, draw_mesh, label_tile, write_png
from pifa_data.images import crop_image, read_image
from pipelines.checkpoints import load_aligner

TILE = 228


def main() -> None:
    checkpoint, image, *corners, out = sys.argv[1:]
    aligner, _ = load_aligner(checkpoint)
    box = check_box(np.array([float(corner) for corner in corners]), "box")
    square = square_of(box, aligner.header.grow, aligner.header.input_size)
    photo = read_image(Path(image))
    crop = crop_image(photo, square)
    large = crop_image(photo, square_of(box, aligner.header.grow, TILE))
    result = aligner.align_crops(crop[None])
    with torch.inference_mode():
        maps = aligner.torch("maps").network(torch.from_numpy(crop).permute(2, 0, 1)[None], maps=True).maps

    def enlarge(points: np.ndarray) -> np.ndarray:
        return (points + 0.5) * (TILE / crop.shape[0]) - 0.5

    names = ["P0", *(f"after block {i + 1}" for i in range(len(maps)))]
    first = [
        label_tile(draw_landmarks(large, enlarge(points[0]), result.visibility[0], 2), name)
        for points, name in zip(result.landmarks, names, strict=True)
    ]
    second = []
    for i, drawn in enumerate(maps):
        grey = np.clip((drawn[0, 0].numpy() + 1.2) * 85, 0, 255).astype(np.uint8)
        tile = cv2.resize(grey, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
        second.append(label_tile(cv2.cvtColor(tile, cv2.COLOR_GRAY2RGB), f"V for block {i + 1}"))
    params = result.params[-1, 0].astype(np.float64)
    view, vertices = params[:8].reshape(2, 4), aligner.model.vertices(params[8:])
    scale, turn, _ = decompose(view)
    depth = -float(scale) * TILE / crop.shape[0] * vertices @ turn[2]
    mesh = draw_mesh(large, enlarge(project(vertices, view)), depth, aligner.model.triangles)
    second.append(label_tile(mesh, "3D face"))
    picture = np.concatenate([np.concatenate(first, 1), np.concatenate(second, 1)])
    write_png(Path(out), picture)


if __name__ == "__main__":
    main()
