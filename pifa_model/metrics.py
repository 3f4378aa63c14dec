"""The published measures of alignment, NumPy only. Percent where the name ends in nothing, a share for rates.

- **NME**: mean over faces of the mean error over visible landmarks ÷ a normaliser, percent. ``tight``: √(w·h) of the
  box around the labelled points; ``box``: of the data set's face box; ``interocular``: distance of the outer eye
  corners.
- **failure rate**: share of faces with interocular NME above 8 %.
- **AUC**: area under the cumulative curve of interocular NME from 0 to 8 %, divided by 8 %: 1 is perfect.
- **MAPE**: mean error over all visible landmarks, source-image pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import box_size, tight_box
from pifa_data.schemes import Scheme

THRESHOLD = 8.0
YAW_BINS = ((0, 30), (30, 60), (60, 90))


@dataclass(frozen=True)
class Truth:
    """Labels of N faces, source-image pixels.

    Attributes:
        landmarks: ``(N, L, 2)``.
        visibility: ``(N, L)`` 0 not labelled, 1 occluded, 2 visible.
        boxes: ``(N, 4)`` the data set's boxes, NaN where it gives none.
        yaw: ``(N,)`` radians.
    """

    landmarks: np.ndarray
    visibility: np.ndarray
    boxes: np.ndarray
    yaw: np.ndarray


def point_errors(predicted: np.ndarray, truth: Truth) -> np.ndarray:
    """Distance of each point, pixels; NaN where the point is not visible: ``(N, L)``.

    Predictions must be finite: a NaN would count as a point that is not visible, and flatter the method.
    """
    if not np.isfinite(predicted).all():
        raise ValueError("predicted landmarks are not finite")
    distance = np.linalg.norm(predicted - truth.landmarks, axis=2)
    return np.where(truth.visibility == 2, distance, np.nan)


def normaliser(truth: Truth, name: str, scheme: Scheme) -> np.ndarray:
    """``(N,)`` pixels; NaN where it can't be had for a face (no box, an eye corner not labelled, a single label)."""
    if name == "box":
        return box_size(truth.boxes)
    if name == "interocular":
        a, b = scheme.eye_corners
        distance = np.linalg.norm(truth.landmarks[:, a] - truth.landmarks[:, b], axis=1)
        known = (truth.visibility[:, [a, b]] > 0).all(1) & (distance > 0)
        return np.where(known, distance, np.nan)
    if name == "tight":
        # A face brought over from another scheme may have a single label left.
        boxes = [
            tight_box(p, v) if v.any() else np.full(4, np.nan)
            for p, v in zip(truth.landmarks, truth.visibility, strict=True)
        ]
        size = box_size(np.array(boxes).reshape(-1, 4))
        return np.where(size > 0, size, np.nan)
    raise ValueError(f"normaliser {name!r}: expected tight, box or interocular")


def face_errors(predicted: np.ndarray, truth: Truth, name: str, scheme: Scheme) -> np.ndarray:
    """NME of each face, percent; NaN where it has no visible point or no normaliser: ``(N,)``."""
    errors = point_errors(predicted, truth)
    counts = np.isfinite(errors).sum(1)
    mean = np.nansum(errors, axis=1) / np.where(counts, counts, np.nan)
    return 100 * mean / normaliser(truth, name, scheme)


def mean_of(values: np.ndarray) -> float | None:
    """Mean of the numbers that are there, or None."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def failure_rate(interocular: np.ndarray, threshold: float = THRESHOLD) -> float | None:
    """Share of faces above the threshold."""
    known = interocular[np.isfinite(interocular)]
    return float((known > threshold).mean()) if len(known) else None


def area_under_curve(interocular: np.ndarray, threshold: float = THRESHOLD) -> float | None:
    """Exact area under the step function "share of faces below e" for e from 0 to the threshold, over the threshold."""
    known = interocular[np.isfinite(interocular)]
    return float(np.clip(1 - known / threshold, 0, 1).mean()) if len(known) else None


def by_yaw(errors: np.ndarray, yaw: np.ndarray) -> dict[str, float | None]:
    """Mean of the faces in each bin of absolute yaw; beyond 90° counts to the last."""
    degrees = np.abs(np.degrees(yaw)).round(9)  # 30° written in radians comes back as 29.999999999999996
    last = YAW_BINS[-1][1]
    return {
        f"{low}-{high}": mean_of(errors[(degrees >= low) & ((degrees < high) | (high == last))])
        for low, high in YAW_BINS
    }


def visibility_accuracy(predicted: np.ndarray, truth: Truth, known: np.ndarray | None = None) -> float | None:
    """Share of points whose predicted visibility is the label's; None where the source labels every point visible.

    Args:
        known: ``(N, L)`` bool, the points that the faces' own schemes have: of the others nobody says whether they can
            be seen. None for all.
    """
    known = np.ones(truth.visibility.shape, bool) if known is None else known
    visible = truth.visibility[known] == 2
    return None if visible.all() else float((predicted[known] == visible).mean())
