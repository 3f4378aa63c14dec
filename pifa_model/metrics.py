"""The published measures of alignment, NumPy only. Percent where the name ends in nothing, a share for rates.

- **NME**: mean over faces of the mean error over visible landmarks ÷ a normaliser, percent. ``tight``: √(w·h) of the
  box around the labelled points; ``box``: of the data set's face box; ``interocular``: distance of the outer eye
  corners.
- **failure rate**: share of faces with interocular NME above 8 %.
- **AUC**: area under the cumulative curve of interocular NME from 0 to 8 %, divided by 8 %: 1 is perfect.
- **MAPE**: mean error over all visible landmarks, source-image pixels.

What is told apart by yaw, part of the face, block or visibility is in ``breakdowns.py``. ``docs/metrics.md`` has every
number of ``pifa eval`` and who publishes it.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        yaw: ``(N,)`` radians, NaN where nobody knows.
    """

    landmarks: np.ndarray
    visibility: np.ndarray
    boxes: np.ndarray
    yaw: np.ndarray

    def check(self) -> None:
        """Refuse what would be measured wrongly without a word.

        Raises:
            ValueError: arrays that do not belong together, an unknown visibility, or a label that is not finite.
        """
        n, points = self.visibility.shape if self.visibility.ndim == 2 else (-1, -1)
        expected = {"landmarks": (n, points, 2), "visibility": (n, points), "boxes": (n, 4), "yaw": (n,)}
        for name, shape in expected.items():
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(
                    f"{name}: expected {shape} as visibility {self.visibility.shape} has it, found {found}"
                )
        if not np.isin(self.visibility, (0, 1, 2)).all():
            raise ValueError("visibility: expected 0, 1 and 2 alone")
        if not np.isfinite(self.landmarks[self.visibility > 0]).all():
            raise ValueError("landmarks: a labelled point is not finite; one without a place has visibility 0")


VISIBLE, OCCLUDED, LABELLED = (2,), (1,), (1, 2)
"""Which labels a mean is over. What is published is over ``VISIBLE`` ones."""


def point_errors(predicted: np.ndarray, truth: Truth, seen: tuple[int, ...] = VISIBLE) -> np.ndarray:
    """Distance of each point, pixels; NaN where its visibility is none of ``seen``: ``(N, L)``.

    Predictions must be finite: a NaN would count as a point that is not visible, and flatter the method.

    Raises:
        ValueError: predictions that are not finite or of another shape; see ``Truth.check``.
    """
    truth.check()
    if predicted.shape != truth.landmarks.shape:
        raise ValueError(f"predicted: expected {truth.landmarks.shape} as the labels, found {predicted.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("predicted landmarks are not finite")
    measured = np.isin(truth.visibility, seen)
    # A point that is not labelled may lie anywhere, at NaN too: it is not even subtracted.
    distance = np.linalg.norm(np.where(measured[..., None], predicted - truth.landmarks, 0), axis=2)
    return np.where(measured, distance, np.nan)


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


def face_errors(
    predicted: np.ndarray, truth: Truth, name: str, scheme: Scheme, seen: tuple[int, ...] = VISIBLE
) -> np.ndarray:
    """NME of each face, percent; NaN where it has no point of ``seen`` or no normaliser: ``(N,)``."""
    return 100 * mean_of_each(point_errors(predicted, truth, seen)) / normaliser(truth, name, scheme)


def mean_offset(predicted: np.ndarray, truth: Truth, name: str, scheme: Scheme) -> tuple[float, float] | None:
    """Mean of predicted − labelled over visible points and faces in x and in y, percent of the normaliser.

    What is left of it is no noise: the labels, or the network, lie to one side. A network trained with mirrored copies
    can't lie to one side in x, so its offset in x is the labels'.
    """
    measured = np.isin(truth.visibility, VISIBLE)[..., None]
    apart = np.where(measured, predicted - truth.landmarks, 0).sum(1) / measured.sum(1).clip(min=1)
    share = 100 * apart / normaliser(truth, name, scheme)[:, None]
    share = share[np.isfinite(share).all(1) & measured.any((1, 2))]
    return (float(share[:, 0].mean()), float(share[:, 1].mean())) if len(share) else None


def mean_of_each(errors: np.ndarray) -> np.ndarray:
    """Mean of the numbers in each row of ``(N, L)``, NaN where there is none: ``(N,)``."""
    counts = np.isfinite(errors).sum(1)
    return np.nansum(errors, axis=1) / np.where(counts, counts, np.nan)


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
    """Mean of the faces in each bin of absolute yaw; beyond 90° counts to the last, an unknown yaw to none."""
    return {name: mean_of(errors[inside]) for name, inside in _bins(yaw)}


def count_by_yaw(errors: np.ndarray, yaw: np.ndarray) -> dict[str, int]:
    """How many numbers each mean of ``by_yaw`` is of."""
    return {name: int(np.isfinite(errors[inside]).sum()) for name, inside in _bins(yaw)}


def _bins(yaw: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    degrees = np.abs(np.degrees(yaw)).round(9)  # 30° written in radians comes back as 29.999999999999996
    last = YAW_BINS[-1][1]
    for low, high in YAW_BINS:
        yield f"{low}-{high}", (degrees >= low) & ((degrees < high) | (high == last))
