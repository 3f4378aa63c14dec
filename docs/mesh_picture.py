"""The picture of docs/align.md: a photo, its depth and normals, and its mesh from three sides.

python docs/mesh_picture.py CHECKPOINT PHOTO OUT.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from pifa_data.camera import rotation
from pifa_data.drawing import write_png
from pifa_data.mesh import FaceMesh, depth_picture, normal_picture, vertex_colours
from pifa_data.photos import read_photo
from pifa_model import Aligner

TURNS = (0, 50, -60)
"""Degrees by which the mesh is turned."""

TILE = 300
"""Pixels of a tile's sides."""


def main(checkpoint: str, photo: str, out: str) -> None:
    aligner = Aligner.load(checkpoint)
    image = read_photo(photo).pixels
    face = aligner(image)[0]
    mesh = aligner.mesh(face)
    colours = vertex_colours(mesh, image, aligner.model).astype(np.float64)
    depth = depth_picture([mesh], image.shape[:2]).astype(np.float64)
    shown = depth > 0
    low = depth[shown].min()
    grey = np.where(shown, 40 + 215 * (depth - low) / (depth[shown].max() - low), 0).astype(np.uint8)
    pictures = [image, np.repeat(grey[..., None], 3, axis=2), normal_picture([mesh], image.shape[:2])]
    # The window around the mesh, a square.
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0))[:2] / 2
    half = 0.55 * float(np.ptp(mesh.vertices[:, :2], axis=0).max())
    scale = TILE / (2 * half)
    matrix = np.array([[scale, 0, TILE / 2 - scale * middle[0]], [0, scale, TILE / 2 - scale * middle[1]]])
    tiles = [cv2.warpAffine(picture, matrix, (TILE, TILE), flags=cv2.INTER_LINEAR) for picture in pictures]
    tiles += [turned(mesh, colours, yaw, scale) for yaw in TURNS]
    write_png(Path(out), np.concatenate(tiles, axis=1))


def turned(mesh: FaceMesh, colours: np.ndarray, yaw: float, scale: float) -> np.ndarray:
    """The mesh in its colours from another side."""
    turn = rotation(np.radians(yaw), 0, 0)
    centred = (mesh.vertices - (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2) * (1, -1, -1)
    seen = FaceMesh((centred @ turn.T) * (scale, -scale, -scale) + (TILE / 2, TILE / 2, 0), mesh.triangles)
    raster = seen.raster((TILE, TILE))
    picture = np.zeros((TILE, TILE, 3), np.uint8)
    picture[raster.triangle >= 0] = raster.interpolate(colours, mesh.triangles)
    return picture


if __name__ == "__main__":
    main(*sys.argv[1:])
