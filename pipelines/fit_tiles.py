"""A fitted face as a page draws it: labels and fitted points over the photo, and the mesh beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import Square
from pifa_data.camera import crop_camera, decompose, project
from pifa_data.drawing import draw_mesh
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pipelines.pages import picture_address


@dataclass(frozen=True)
class Drawing:
    """One drawn fit; coordinates are units of the square it is drawn in, rounded for the page.

    Attributes:
        photo: data address of the crop, or empty.
        mesh: data address of the fitted mesh over the crop, or over a plain ground.
        labels: (x, y, class) of the labelled points.
        fitted: (x, y, class) of all fitted points.
        misses: (x0, y0, x1, y1) from each label to its fitted point.
        strokes: lines through the fitted points of each part of the face, for the eye.
    """

    photo: str
    mesh: str
    labels: list[tuple[float, float, str]]
    fitted: list[tuple[float, float, str]]
    misses: list[tuple[float, float, float, float]]
    strokes: list[str]


def draw_fit(
    square: Square,
    crop: np.ndarray,
    landmarks: np.ndarray,
    visibility: np.ndarray,
    fitted: np.ndarray,
    params: np.ndarray,
    model: MorphableModel,
    scheme: str,
    *,
    photo: bool = True,
) -> Drawing:
    """Draw a fit in a square of its image.

    Args:
        square: what is drawn of the image in whose pixels labels and fit are.
        crop: ``(size, size, 3)`` uint8 RGB, that square.
        landmarks, visibility: ``(L, 2)`` labels and ``(L,)`` uint8.
        fitted: ``(L, 2)`` points of the fit.
        params: ``(8 + K,)`` of the fit.
        photo: whether ``crop`` is one, and not a plain ground.
    """
    params = params.astype(np.float64)
    at, where = np.round(square.to_crop(landmarks), 1), np.round(square.to_crop(fitted.astype(np.float64)), 1)
    view = crop_camera(params[:8].reshape(2, 4), square)
    vertices = model.vertices(params[8:])
    scale, turn, _ = decompose(view)
    depth = -float(scale) * (vertices @ turn[2])
    points = np.clip(project(vertices, view), -1e4, 1e4)  # cv2 counts in 32 bits
    mesh = draw_mesh(crop, points, depth, model.triangles, opacity=0.65 if photo else 1.0)
    labelled = visibility > 0
    return Drawing(
        photo=picture_address(crop) if photo else "",
        mesh=picture_address(mesh),
        labels=[(*at[i], "seen" if visibility[i] == 2 else "covered") for i in np.flatnonzero(labelled)],
        fitted=[(*where[i], "fit" if labelled[i] else "guess") for i in range(len(where))],
        misses=[(*at[i], *where[i]) for i in np.flatnonzero(labelled)],
        strokes=_strokes(where, scheme),
    )


def _strokes(points: np.ndarray, scheme: str) -> list[str]:
    lines = []
    for name, members in get_scheme(scheme).groups.items():
        chain = list(members)
        if "eye" in name or "lip" in name:
            chain.append(chain[0])
        lines.append(" ".join(f"{points[i][0]},{points[i][1]}" for i in chain))
    return lines
