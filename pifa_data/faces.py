"""One labelled face, as every reader gives it, and the checks that every face passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError

LARGEST_COORDINATE = 1e6
"""Pixels. No image decodes to more; a label beyond it is damage, and its square would spoil float32."""

FEWEST_POINTS = 6
"""Labelled points, at places of their own, below which camera and shape can't be told apart."""

SMALLEST_SIZE = 1e-6
"""Distance from the middle to the farthest point, as a share of the largest coordinate: nearer, float32 can hardly tell
the points apart. A share and not pixels, so that labels in units of one's own can be fitted."""


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


def refusal(landmarks: np.ndarray, visibility: np.ndarray) -> str | None:
    """Why no camera and shape can be fitted to one face's labels; None if they can.

    Args:
        landmarks: ``(L, 2)`` image pixels; rows of visibility 0 are ignored, whatever they hold.
        visibility: ``(L,)`` uint8, 0 not labelled, 1 occluded, 2 visible.

    Returns:
        One clause for a report, as "expected at least 6 labelled points, found 3": too few points, NaN, absurd
        coordinates, all points on one line, or a face of zero size.
    """
    points = np.asarray(landmarks[visibility > 0], dtype=np.float64)
    if len(points) < FEWEST_POINTS:
        return f"expected at least {FEWEST_POINTS} labelled points, found {len(points)}"
    largest = np.abs(points).max()  # NaN if one is
    if not np.isfinite(largest):
        return "landmarks are not finite numbers"
    if largest > LARGEST_COORDINATE:
        return f"a landmark lies more than {LARGEST_COORDINATE:.0f} pixels out"
    away = points - points.mean(0)
    if np.abs(away).max() <= SMALLEST_SIZE * largest:
        return "all landmarks lie on one point (a face of zero area)"
    # Eigenvalues a ≥ b of the scatter tell a cloud from a line whichever way it lies: det / trace² = ab / (a + b)²,
    # 10⁻⁶ where the cloud is a thousand times as long as wide.
    (xx, xy), (_, yy) = away.T @ away
    if xx * yy - xy * xy < 1e-6 * (xx + yy) ** 2:
        return "all landmarks lie on one line (a face of zero area, or one landmark far from all others)"
    places = len(set(points.view(np.complex128).ravel().tolist()))
    if places < FEWEST_POINTS:
        return f"expected landmarks at {FEWEST_POINTS} different places at least, found {places}"
    return None


def check_face(face: Face) -> Face:
    """Give the face back if its labels can be used.

    Raises:
        AnnotationError: no fit is possible (see ``refusal``), or the face box has no area.
    """
    reason = refusal(face.landmarks, face.visibility)
    if reason is not None:
        raise AnnotationError(f"{face.id}: {reason}")
    if face.box is not None and not (
        np.isfinite(face.box).all() and face.box[2] > face.box[0] and face.box[3] > face.box[1]
    ):
        raise AnnotationError(f"{face.id}: the face box has no area")
    return face
