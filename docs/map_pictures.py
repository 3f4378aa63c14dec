"""Draw what the visualization layer sees of the builtin model.

    python docs/map_pictures.py docs/images

``masks.png``: masks 1 and 2 on the mesh from the front and the side (as the paper's figures 4 and 8), red positive,
blue negative; and how vertices of one pixel are pruned (figure 5). ``maps.png``: V of all vertices from one profile to
the other, on both grids of the network (as figure 10); an open mouth and a smile; V with mask 2 and with none.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from pifa_data.camera import camera, project, rotation
from pifa_data.drawing import label_tile
from pifa_data.morphable import load_builtin
from pifa_model.config import VisualizationConfig
from pifa_model.masks import vertex_mask
from pifa_model.visualization import VisualizationLayer

TILE = 228
CROP = 114
YAWS = (90, 45, 0, -45, -90)
SHOWN = 250.0  # mm of the model that a tile of masks.png shows


def view(yaw: float, size: int, shown: float) -> np.ndarray:
    """``(2, 4)`` camera that puts the face into the middle of ``size`` pixels."""
    model = load_builtin()
    landmarks = model.mean[model.landmarks["ibug68"]]
    m = camera(np.array(size / shown), rotation(np.radians(yaw), 0.0, 0.0), np.zeros(2))
    m[:, 3] = (size - 1) / 2 - m[:, :3] @ ((landmarks.max(0) + landmarks.min(0)) / 2)
    return m


def colours(values: np.ndarray, limit: float) -> np.ndarray:
    """``(..., 3)`` uint8: red above 0, blue below, white at 0."""
    t = np.clip(values / limit, -1, 1)[..., None]
    red, blue = np.array([178.0, 24, 43]), np.array([33.0, 102, 172])
    return np.round(255 + (np.where(t > 0, red, blue) - 255) * np.abs(t)).astype(np.uint8)


def mesh(values: np.ndarray, yaw: float, text: str) -> np.ndarray:
    """The mesh with a number a vertex as its colour, darker where it turns away."""
    model, large = load_builtin(), 2 * TILE
    m = view(yaw, large, SHOWN)
    r3 = np.cross(m[0, :3], m[1, :3]) / (np.linalg.norm(m[0, :3]) * np.linalg.norm(m[1, :3]))
    points, depth, facing = project(model.mean, m), model.mean @ r3, -model.normals @ r3
    shade = np.clip(facing, 0, 1)[:, None] * 0.45 + 0.55
    colour = colours(values, float(np.abs(values).max())) * shade
    picture = np.full((large, large, 3), 24, np.uint8)
    corners = np.round(points[model.triangles] * 16).astype(np.int32)
    for t in np.argsort(-depth[model.triangles].mean(1), kind="stable"):
        if facing[model.triangles[t]].mean() > 0:
            cv2.fillConvexPoly(picture, corners[t], colour[model.triangles[t]].mean(0).tolist(), shift=4)
    return label_tile(cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA), text)


def pruning() -> np.ndarray:
    """Figure 5: of four vertices that project into one pixel, the nearest of those that face the viewer is kept."""
    picture = np.full((TILE, TILE, 3), 24, np.uint8)
    grey, green, red = (150, 150, 150), (60, 200, 80), (220, 60, 60)
    cv2.line(picture, (40, 82), (40, 196), grey, 2, cv2.LINE_AA)  # the image plane, with the pixel in it
    cv2.line(picture, (40, 112), (40, 146), (255, 255, 255), 5, cv2.LINE_AA)
    for y in (112, 146):
        cv2.line(picture, (40, y), (TILE - 8, y), (80, 80, 80), 1, cv2.LINE_AA)
    # x, y, direction of the normal in degrees from the viewer, kept
    for x, y, angle, state in ((82, 124, 150, red), (118, 138, 30, green), (158, 120, -25, grey), (188, 134, 205, red)):
        end = x - int(30 * np.cos(np.radians(angle))), y - int(30 * np.sin(np.radians(angle)))
        cv2.arrowedLine(picture, (x, y), end, state, 2, cv2.LINE_AA, tipLength=0.3)
        cv2.circle(picture, (x, y), 5, state, -1, cv2.LINE_AA)
    for line, (text, colour) in enumerate((("faces away", red), ("kept", green), ("farther", grey))):
        cv2.putText(picture, text, (8, 18 + 17 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    cv2.putText(picture, "pixel", (8, 106), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    return label_tile(picture, "pruning")


@cache
def layer_of(mask: Literal["nose", "parts", "none"]) -> VisualizationLayer:
    return VisualizationLayer(load_builtin(), VisualizationConfig(vertices=1_000_000, mask=mask))


def drawn(
    p: np.ndarray, yaw: float, size: int, text: str, mask: Literal["nose", "parts", "none"] = "nose"
) -> np.ndarray:
    """V of ``size`` pixels as grey, enlarged without smoothing; mid-grey is 0."""
    layer = layer_of(mask)
    params = np.concatenate([view(yaw, CROP, 175.0).ravel(), p])
    with torch.inference_mode():
        v = layer(torch.from_numpy(params)[None].float(), size, CROP // size)[0, 0].numpy()
    limit = float(layer._mask.abs().max())
    grey = np.round(np.clip(127.5 * (1 + v / limit), 0, 255)).astype(np.uint8)
    tile = cv2.resize(grey, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    return label_tile(cv2.cvtColor(tile, cv2.COLOR_GRAY2RGB), text)


def main() -> None:
    [folder] = sys.argv[1:]
    model = load_builtin()
    tiles = []
    for number, mask in ((1, "nose"), (2, "parts")):
        values = vertex_mask(model, VisualizationConfig(mask=mask)).astype(np.float64)
        tiles += [mesh(values, yaw, f"mask {number}, yaw {yaw}") for yaw in (0, 75)]
    save(Path(folder) / "masks.png", np.concatenate([*tiles, pruning()], 1))

    mean = np.zeros(model.n_coefficients)
    rows = [[drawn(mean, yaw, size, f"{size}x{size}, yaw {yaw}") for yaw in YAWS] for size in (114, 57)]
    open_mouth, smile = mean.copy(), mean.copy()
    for p, name, amount in ((open_mouth, "jaw_open", 3.0), (smile, "smile", 2.0)):
        p[len(model.identity) + model.expression_names.index(name)] = amount
    rows.append(
        [
            drawn(open_mouth, 0, 57, "57x57, jaw_open +3 sd"),
            drawn(smile, 0, 57, "57x57, smile +2 sd"),
            drawn(mean, 0, 57, "57x57, mask 2", "parts"),
            drawn(mean, 45, 57, "57x57, mask 2", "parts"),
            drawn(mean, 0, 57, "57x57, no mask", "none"),
        ]
    )
    save(Path(folder) / "maps.png", np.concatenate([np.concatenate(row, 1) for row in rows]))


def save(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        sys.exit(f"{path}: can't be written")


if __name__ == "__main__":
    main()
