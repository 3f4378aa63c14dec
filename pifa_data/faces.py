"""One labelled face, as every reader gives it, and the checks that every face passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError

LARGEST_COORDINATE = 1e6
"""Pixels. No image decodes to more; a label beyond it is damage, and its square would spoil float32."""

FEWEST_POINTS = 6
"""Labelled points below which camera and shape can't be told apart."""


@dataclass(frozen=True)
class Face:
    """One labelled face.

    Attributes:
        id: unique and stable within its source; names the face in reports and seeds its random numbers.
        image: path of the image.
        landmarks: ``(L, 2)`` float64, image pixels, the centre of the top-left pixel is (0, 0).
        visibility: ``(L,)`` uint8, COCO's: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
        scheme: name of the landmark scheme.
        kind: ``2d`` (jaw labels lie on the visible silhouette) or ``3d`` (each is one place on the head).
        box: ``(4,)`` the data set's own face box ``x0, y0, x1, y1`` in pixels, or None.
        subject: who it is; faces of one subject never stand on both sides of a split.
        split: the data set's own split.
    """

    id: str
    image: Path
    landmarks: np.ndarray
    visibility: np.ndarray
    scheme: str
    kind: str
    box: np.ndarray | None = None
    subject: str = ""
    split: str = ""


@dataclass(frozen=True)
class Skipped:
    """A face that can't be used, and why."""

    id: str
    reason: str


def check_face(face: Face) -> Face:
    """Give the face back if its labels can be used.

    Raises:
        AnnotationError: too few labelled points, NaN or absurd coordinates, or a box without area.
    """
    labelled = face.visibility > 0
    if int(labelled.sum()) < FEWEST_POINTS:
        raise AnnotationError(
            f"{face.id}: expected at least {FEWEST_POINTS} labelled points, found {int(labelled.sum())}"
        )
    points = face.landmarks[labelled]
    if not np.isfinite(points).all():
        raise AnnotationError(f"{face.id}: landmarks are not finite numbers")
    if np.abs(points).max() > LARGEST_COORDINATE:
        raise AnnotationError(f"{face.id}: a landmark lies more than {LARGEST_COORDINATE:.0f} pixels out")
    # Singular values tell a cloud from a line or a point whichever way it lies.
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if spread[1] < 1e-3 * max(spread[0], 1e-9):
        raise AnnotationError(f"{face.id}: all landmarks lie on one line or point (a face of zero area)")
    if face.box is not None and not (
        np.isfinite(face.box).all() and face.box[2] > face.box[0] and face.box[3] > face.box[1]
    ):
        raise AnnotationError(f"{face.id}: the face box has no area")
    return face
