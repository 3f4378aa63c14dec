"""Errors told apart: by part of the face, over all faces at once, at fewer points, by visibility, of the pose."""

from __future__ import annotations

from typing import Any

import numpy as np

from pifa_data.schemes import Scheme, correspondence, get_scheme
from pifa_model.metrics import Truth, face_errors, mean_of, mean_of_each, normaliser, point_errors

PARTS = {
    **{"brow": "brows", "eye": "eyes", "ear": "ears", "nose": "nose", "mouth": "mouth", "jaw": "jaw"},
    **{"outer_lip": "mouth", "inner_lip": "mouth", "chin": "jaw"},
}
"""Groups of the schemes, without their side, as the parts of the face that numbers are given for."""

CURVE = 100
"""Steps of a cumulative curve."""

SEEN = {"visible": 2, "occluded": 1, "not_labelled": 0}


def parts_of(scheme: Scheme) -> dict[str, list[int]]:
    """Landmark numbers of each part of the face that a scheme has points on; both sides are one part."""
    parts: dict[str, list[int]] = {}
    for group, members in scheme.groups.items():
        name = group.removeprefix("right_").removeprefix("left_")
        parts.setdefault(PARTS.get(name, name), []).extend(members)
    return parts


def by_part(predicted: np.ndarray, truth: Truth, name: str, scheme: Scheme) -> dict[str, float | None]:
    """NME of each part of the face, percent of the whole face's normaliser ``name``.

    A face counts to a part of which it has a visible point; None where no face has.
    """
    errors, size = point_errors(predicted, truth), normaliser(truth, name, scheme)
    return {part: mean_of(100 * mean_of_each(errors[:, at]) / size) for part, at in parts_of(scheme).items()}


def at_points(predicted: np.ndarray, truth: Truth, scheme: Scheme, fewer: str) -> np.ndarray | None:
    """Interocular NME of each face at the points of another scheme, percent, ``(N,)``.

    None where the scheme lacks one of its points.
    """
    kept = correspondence(fewer, scheme.name)
    if (kept < 0).any():
        return None
    part = Truth(truth.landmarks[:, kept], truth.visibility[:, kept], truth.boxes, truth.yaw)
    return face_errors(predicted[:, kept], part, "interocular", get_scheme(fewer))


def error_curve(errors: np.ndarray) -> list[float] | None:
    """The cumulative curve of ``(N,)`` errors turned round: for 0, 1, … 100 % of the faces the smallest error that at
    least so many of them do not exceed. NaN takes no part; None where nothing else is there.
    """
    known = errors[np.isfinite(errors)]
    if not len(known):
        return None
    # A k-th smallest value and nothing between two of them: what is drawn are errors that faces have.
    found = np.quantile(known, np.arange(CURVE + 1) / CURVE, method="inverted_cdf")
    return [round(float(value), 4) for value in found]


def visibility_accuracy(predicted: np.ndarray, truth: Truth, known: np.ndarray | None = None) -> float | None:
    """Share of points whose predicted visibility is the label's; None where the source labels every point visible.

    Args:
        predicted: ``(N, L)`` bool.
        truth: the labels.
        known: ``(N, L)`` bool, the points that the faces' own schemes have: of the others nobody says whether they can
            be seen. None for all.
    """
    known = np.ones(truth.visibility.shape, bool) if known is None else known
    visible = truth.visibility[known] == 2
    return None if visible.all() else float((predicted[known] == visible).mean())


def visibility_confusion(
    predicted: np.ndarray, truth: Truth, known: np.ndarray | None = None
) -> dict[str, dict[str, int]] | None:
    """How many points of each label (visible, occluded, not labelled) are predicted visible and hidden.

    Arguments and None as of ``visibility_accuracy``. What is predicted is whether a point faces the viewer: a hand over
    the mouth is nothing that it could tell.
    """
    if visibility_accuracy(predicted, truth, known) is None:
        return None
    known = np.ones(truth.visibility.shape, bool) if known is None else known
    counts = {}
    for label, level in SEEN.items():
        of = predicted[known & (truth.visibility == level)]
        counts[label] = {"visible": int(of.sum()), "hidden": int((~of).sum())}
    return counts


def pose_error(predicted: np.ndarray, reference: np.ndarray) -> dict[str, Any] | None:
    """Mean absolute difference of yaw, pitch and roll in degrees, the mean of the three, and the faces it is of.

    Args:
        predicted: ``(N, 3)`` radians.
        reference: ``(N, 3)`` radians; a face with a NaN takes no part. None where no other is there.

    Raises:
        ValueError: arrays of different shapes, or predictions that are not finite.
    """
    if predicted.shape != reference.shape or predicted.shape[1:] != (3,):
        raise ValueError(f"expected (N, 3) twice, found {predicted.shape} and {reference.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("predicted angles are not finite")
    known = np.isfinite(reference).all(1)
    if not known.any():
        return None
    apart = np.degrees(predicted[known] - reference[known])
    angles = np.abs((apart + 180) % 360 - 180).mean(0)  # 179° and −179° are 2° apart
    names = dict(zip(("yaw", "pitch", "roll"), angles.tolist(), strict=True))
    return {**names, "mean": float(angles.mean()), "faces": int(known.sum())}
