"""The numbers of ``pifa eval`` (``docs/metrics.md``) from what was collected."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.schemes import correspondence, get_scheme
from pifa_model.bootstrap import bootstrap_mean
from pifa_model.breakdowns import (
    at_points,
    by_part,
    error_curve,
    pose_error,
    visibility_accuracy,
    visibility_confusion,
)
from pifa_model.calibration import Calibration
from pifa_model.metrics import (
    LABELLED,
    OCCLUDED,
    Truth,
    area_under_curve,
    by_yaw,
    count_by_yaw,
    face_errors,
    failure_rate,
    mean_of,
    mean_offset,
    point_errors,
)
from pifa_model.reliability import reliability
from pipelines.eval_collect import Collected, bin_yaw

DRAWS = 2000
"""Of the interval: its ends then vary by 2 % of its width, and 24,000 people (AFLW) take seconds."""

LISTED = 12
"""Faces of the smallest and of the largest errors that are named."""


@dataclass(frozen=True)
class Measurement:
    """Every crop's errors and the numbers made of them.

    Attributes:
        truth: labels of N crops, source-image pixels.
        predicted: ``(stages, N, L, 2)``, at P⁰ and after each block.
        errors: ``(stages, N)`` NME, percent, NaN where it can't be told.
        values: the JSON of ``pifa eval``, but for what says which faces and which checkpoint.
    """

    truth: Truth
    predicted: np.ndarray
    errors: np.ndarray
    values: dict[str, Any]


def measure(out: Collected, normaliser: str, scheme_name: str, calibration: Calibration | None = None) -> Measurement:
    """Measure what was collected at the landmarks of a scheme; its scores too where they are calibrated.

    Raises:
        AnnotationError: no face has the normaliser.
    """
    scheme = get_scheme(scheme_name)
    yaw = np.array([bin_yaw(*poses) for poses in zip(out.fit_pose, out.own_pose, strict=True)])
    truth = Truth(np.stack(out.landmarks), np.stack(out.visibility), np.stack(out.boxes), yaw)
    predicted = np.stack(out.predicted, axis=1)
    stages = np.stack([face_errors(stage, truth, normaliser, scheme) for stage in predicted])
    last, errors = predicted[-1], stages[-1]
    if not np.isfinite(errors).any():
        raise AnnotationError(f"--normaliser {normaliser}: the faces have none (no boxes, or no labelled eye corners)")
    interocular = face_errors(last, truth, "interocular", scheme)
    fewer = {points: at_points(last, truth, scheme, f"ibug{points}") for points in (68, 51)}
    has = {own: np.isin(range(len(scheme)), correspondence(own, scheme.name)) for own in set(out.schemes)}
    seen = (np.stack(out.visible), truth, np.stack([has[own] for own in out.schemes]))
    curves = {normaliser: errors, "interocular": interocular, "interocular_51": fewer[51]}
    blocks = [by_yaw(stage, yaw) for stage in stages[1:]]
    values = {
        "faces": out.faces,
        "crops": len(errors),
        "normaliser": normaliser,
        "nme": mean_of(errors),
        "nme_interval": interval(errors, out.subjects),
        "nme_per_block": [mean_of(stage) for stage in stages[1:]],
        "nme_initial": mean_of(stages[0]),
        "nme_interocular": mean_of(interocular),
        "failure_rate_8": failure_rate(interocular),
        "auc_8": area_under_curve(interocular),
        **{f"nme_interocular_{points}": _of(mean_of, found) for points, found in fewer.items()},
        **{f"failure_rate_8_{points}": _of(failure_rate, found) for points, found in fewer.items()},
        **{f"auc_8_{points}": _of(area_under_curve, found) for points, found in fewer.items()},
        "offset": mean_offset(last, truth, normaliser, scheme),
        "mape": mean_of(point_errors(last, truth)),
        "nme_by_yaw": by_yaw(errors, yaw),
        "nme_per_block_by_yaw": {name: [block[name] for block in blocks] for name in blocks[0]},
        "crops_by_yaw": count_by_yaw(errors, yaw),
        "nme_by_group": by_part(last, truth, normaliser, scheme),
        "nme_labelled": mean_of(face_errors(last, truth, normaliser, scheme, LABELLED)),
        "nme_occluded": mean_of(face_errors(last, truth, normaliser, scheme, OCCLUDED)),
        "visibility_accuracy": visibility_accuracy(*seen),
        "visibility_confusion": visibility_confusion(*seen),
        "pose_error": {
            name: pose_error(np.stack(out.angles), np.stack(poses).astype(np.float64))
            for name, poses in (("fit", out.fit_pose), ("dataset", out.own_pose))
        },
        # Mean of p² over coefficients and faces: 1 under the model's prior, more for shapes that no face has.
        "mean_square_coefficient": float(np.mean(out.mean_squares)),
        **_scores(np.array(out.scores), face_errors(last, truth, "tight", scheme), calibration),
        "curve": {name: _of(error_curve, found) for name, found in curves.items()},
        "ms_per_face": 1e3 * out.seconds / len(errors),
        **_ends(errors, out.ids),
        "faces_digest": _digest(out),
    }
    return Measurement(truth, predicted, stages, values)


def truth_of(faces: Sequence[Face]) -> Truth:
    """The labels of faces of one scheme, without boxes and poses: what NME of the tight box needs."""
    landmarks, visibility = np.stack([f.landmarks for f in faces]), np.stack([f.visibility for f in faces])
    return Truth(landmarks, visibility, np.full((len(faces), 4), np.nan), np.full(len(faces), np.nan))


def interval(errors: np.ndarray, subjects: list[str]) -> dict[str, Any] | None:
    """The 95 % interval of a mean over crops, by the bootstrap over people; None of one person alone."""
    people = len({subject for subject, error in zip(subjects, errors, strict=True) if np.isfinite(error)})
    if people < 2:
        return None
    found = bootstrap_mean(errors, np.array(subjects), draws=DRAWS)
    return {"low": found.low, "high": found.high, "level": 0.95, "people": people}


def _scores(scores: np.ndarray, tight: np.ndarray, calibration: Calibration | None) -> dict[str, Any]:
    """How true calibrated scores are against ``(N,)`` errors, percent of the tight box; None where they are not."""
    names = ("threshold", "aligned", "brier", "ece", "auc", "curve")
    known = np.isfinite(tight)
    if calibration is None or not known.any():
        return dict.fromkeys(f"score_{name}" for name in names)
    aligned = tight[known] < calibration.threshold
    found = reliability(scores[known], aligned)
    curve = [{"score": score, "aligned": share, "crops": crops} for score, share, crops in found.bins]
    values = (calibration.threshold, float(aligned.mean()), found.brier, found.ece, found.auc, curve)
    return {f"score_{name}": value for name, value in zip(names, values, strict=True)}


def _of(function: Any, errors: np.ndarray | None) -> Any:
    """None where the faces lack the points."""
    return None if errors is None else function(errors)


def _ends(errors: np.ndarray, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Faces of the smallest and of the largest errors, each the mean of its crops."""
    known = np.isfinite(errors)
    names, index = np.unique(np.array(ids)[known], return_inverse=True)
    mean = np.bincount(index, errors[known]) / np.bincount(index)
    order = [int(i) for i in np.argsort(mean, kind="stable")]
    listed = {"best_faces": order[:LISTED], "worst_faces": order[::-1][:LISTED]}
    return {
        key: [{"face": str(names[i]), "nme": round(float(mean[i]), 4)} for i in chosen]
        for key, chosen in listed.items()
    }


def _digest(out: Collected) -> str:
    """Which faces were measured, how often, and how they are labelled: evaluations of one digest are of the same."""
    digest = hashlib.sha256()
    for name, kind in zip(out.ids, out.kinds, strict=True):
        digest.update(f"{name}\0{kind}\n".encode())
    digest.update(np.stack(out.visibility).astype(np.uint8).tobytes())
    digest.update(np.round(np.where(np.stack(out.visibility)[..., None] > 0, np.stack(out.landmarks), 0), 1).tobytes())
    return digest.hexdigest()[:16]
