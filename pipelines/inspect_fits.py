"""The second part of ``pifa inspect``: the kept faces are fitted, and the fits tell what the labels alone can't."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.faces import Face, check_faces
from pifa_data.fitting import LandmarkFitter
from pifa_data.labels import WORST_FIT, is_slip
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pipelines.fit import BATCH, NOT_FITTED, fit_batch
from pipelines.inspect_problems import Problems
from pipelines.inspect_survey import Survey
from pipelines.progress import Advance

ANGLES = ("yaw", "pitch", "roll")

BEHIND = 100.0
"""Degrees of yaw. With left and right swapped a face looks like one seen from behind through the head: of MERL-RAV's
faces none is fitted beyond 90°, and of the same with swapped labels all but a few beyond 100°."""

FAR_POSE = 45.0
"""Degrees between the data set's own angle and the fit's that are a problem of the face. Fits turn full profiles 15 to
25° too little."""

FEWEST_TO_COMPARE = 3
"""Faces with a pose of their own from which the correlation is told."""

LEAST_SPREAD = 5.0
"""Standard deviation of an angle, degrees, from which its sign can be told by correlation."""


@dataclass(frozen=True)
class Fitted:
    """The kept faces of one source, scheme after scheme.

    Attributes:
        faces: N of them.
        rows: ``(N,)`` int64, which of the source's faces they are.
        pose: ``(N, 3)`` degrees, of the fit; NaN where there is none.
        own: ``(N, 3)`` degrees, the data set's; NaN where there is none.
        nme: ``(N,)`` percent of the tight box; NaN where there is no fit.
        size: ``(N,)`` pixels, √(w·h) of the tight box.
        notes: why faces of a scheme are not fitted, one line a scheme.
    """

    faces: list[Face]
    rows: np.ndarray
    pose: np.ndarray
    own: np.ndarray
    nme: np.ndarray
    size: np.ndarray
    notes: list[str]

    @property
    def done(self) -> np.ndarray:
        """``(N,)`` bool: those that are fitted."""
        return np.isfinite(self.nme)


def fit_sample(survey: Survey, model: MorphableModel, advance: Advance) -> Fitted:
    """Fit the kept faces of a source, and add to its problems what the fits show."""
    faces: list[Face] = []
    rows: list[int] = []
    parts: list[np.ndarray] = []
    notes: list[str] = []
    for scheme, sample in survey.samples.items():
        faces += sample.faces
        rows += sample.rows
        try:
            fitter = LandmarkFitter(model, scheme)
        except PifaError as error:
            notes.append(str(error))
            parts.append(np.full((len(sample.faces), 4), np.nan))
            advance(len(sample.faces))
            continue
        parts.append(_fit_scheme(sample.faces, fitter, survey.problems, advance))
    found = np.concatenate([np.empty((0, 4)), *parts])
    at = np.array(rows, dtype=np.int64)
    fitted = Fitted(
        faces=faces,
        rows=at,
        pose=found[:, :3],
        own=survey.columns["pose"][at].astype(np.float64),
        nme=found[:, 3],
        size=survey.columns["size"][at].astype(np.float64),
        notes=notes,
    )
    _compare_poses(survey, fitted)
    return fitted


def _fit_scheme(faces: list[Face], fitter: LandmarkFitter, problems: Problems, advance: Advance) -> np.ndarray:
    """``(N, 4)``: yaw, pitch, roll in degrees and error in percent of faces of one scheme, NaN without a fit."""
    result = np.full((len(faces), 4), np.nan)
    reasons = check_faces(faces)
    for batch in _batches([i for i, reason in enumerate(reasons) if reason is None]):
        with np.errstate(all="ignore"):  # what is not finite is refused and told
            fits = fit_batch([faces[i] for i in batch], fitter)
        for position in fits.refused:
            problems.add("misfit", faces[batch[position]].id, NOT_FITTED, faces[batch[position]])
        at = [batch[position] for position in fits.fitted]
        if at:
            columns = fits.rows
            result[at] = np.stack([columns[name] for name in (*ANGLES, "nme")], axis=1)
            _judge([faces[i] for i in at], columns, fitter, problems)
        advance(len(batch))
    advance(len(reasons) - reasons.count(None))
    return result


def _batches(numbers: list[int]) -> Iterator[list[int]]:
    return (numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH))


def _judge(faces: list[Face], columns: dict[str, np.ndarray], fitter: LandmarkFitter, problems: Problems) -> None:
    """Tell what is wrong with fitted faces."""
    doubtful = (np.abs(columns["yaw"]) > BEHIND) | ~columns["plausible"] | (columns["nme"] > WORST_FIT)
    swapped = _look_swapped([faces[i] for i in np.flatnonzero(doubtful)], columns["nme"][doubtful], fitter)
    turned = dict(zip(np.flatnonzero(doubtful).tolist(), swapped, strict=True))
    labels = np.stack([face.landmarks for face in faces])
    seen = np.stack([face.visibility for face in faces]) > 0
    away = np.where(seen, np.linalg.norm(np.where(seen[..., None], labels - columns["landmarks"], 0), axis=2), 0)
    slipped = is_slip(away, columns["params"][:, :8].reshape(-1, 2, 4).astype(np.float64), fitter)
    names = get_scheme(faces[0].scheme).points
    for i, face in enumerate(faces):
        whole = True  # the face as such is wrong, not single points
        if turned.get(i):
            problems.add("swapped", face.id, turned[i], face)
        elif columns["nme"][i] > WORST_FIT:
            text = f"the best fit misses them by {columns['nme'][i]:.0f} % of the tight box; `pifa prep` refuses that"
            problems.add("misfit", face.id, text, face)
        elif abs(columns["yaw"][i]) > BEHIND:
            problems.add("misfit", face.id, f"the best fit looks away: its yaw is {columns['yaw'][i]:z.0f}°", face)
        else:
            whole = False
        if not whole and not columns["plausible"][i]:
            text = (
                f"no plausible shape: error {columns['nme'][i]:.1f} % of the tight box, plausibility "
                f"{columns['plausibility'][i]:.1f}"
            )
            problems.add("misfit", face.id, text, face)
        if not whole and slipped[i].any():
            wrong = np.flatnonzero(slipped[i])
            listed = ", ".join(f"{p} ({names[p]})" for p in wrong[:5].tolist())
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            text = f"point {listed}{more}: up to {away[i].max():.0f} pixels from its fitted place"
            problems.add("slip", face.id, text, face)


def _look_swapped(faces: list[Face], nme: np.ndarray, fitter: LandmarkFitter) -> list[str]:
    """For each face why left and right look swapped, empty where they don't."""
    if not faces:
        return []
    mirror = get_scheme(faces[0].scheme).mirror
    turned = [replace(face, landmarks=face.landmarks[mirror], visibility=face.visibility[mirror]) for face in faces]
    with np.errstate(all="ignore"):
        fits = fit_batch(turned, fitter)
    texts = [""] * len(faces)
    for row, i in enumerate(fits.fitted):
        error, yaw = float(fits.rows["nme"][row]), float(fits.rows["yaw"][row])
        if abs(yaw) < BEHIND and fits.rows["plausible"][row] and error < nme[i]:
            texts[i] = f"error {nme[i]:.1f} % of the tight box, with left and right exchanged {error:.1f} %"
    return texts


def agreement(own: np.ndarray, fitted: np.ndarray) -> dict[str, dict[str, float | None]]:
    """How the data set's own angles and the fit's agree, ``(N, 3)`` degrees each, by angle.

    ``median_absolute_difference`` and ``median_difference`` (fit − own) are degrees; ``correlation`` is None for fewer
    than three faces, or where an angle does not vary.
    """
    result: dict[str, dict[str, float | None]] = {}
    for column, name in enumerate(ANGLES):
        difference = turn(fitted[:, column] - own[:, column])
        correlation = None
        if len(own) >= FEWEST_TO_COMPARE and min(np.ptp(own[:, column]), np.ptp(fitted[:, column])) > 0:
            correlation = round(float(np.corrcoef(own[:, column], fitted[:, column])[0, 1]), 4)
        result[name] = {
            "median_absolute_difference": round(float(np.median(np.abs(difference))), 3),
            "median_difference": round(float(np.median(difference)), 3),
            "correlation": correlation,
        }
    return result


def turn(degrees: np.ndarray) -> np.ndarray:
    """Angles brought into −180° to 180°."""
    return (degrees + 180) % 360 - 180


def comparable(fitted: Fitted) -> np.ndarray:
    """``(N,)`` bool: the faces that have a fit and a pose of their own."""
    return fitted.done & np.isfinite(fitted.own).all(1)


def _compare_poses(survey: Survey, fitted: Fitted) -> None:
    both = np.flatnonzero(comparable(fitted))
    if not len(both):
        return
    own, pose = fitted.own[both], fitted.pose[both]
    against = []
    for name, values in agreement(own, pose).items():
        column = ANGLES.index(name)
        spread = min(float(np.std(own[:, column])), float(np.std(pose[:, column])))
        correlation = values["correlation"]
        if correlation is not None and correlation < -0.5 and spread > LEAST_SPREAD:
            text = f"{name}: correlation {correlation:+.2f} over {len(both):,} faces; its sign is turned over"
            survey.problems.add("sign", survey.source, text)
            against.append(column)
    kept = [column for column in range(3) if column not in against]
    difference = np.abs(turn(pose - own))
    far = (difference[:, kept] > FAR_POSE).any(1) & (np.abs(pose[:, 0]) <= BEHIND)  # those behind are told already
    for row in np.flatnonzero(far):
        face = fitted.faces[both[row]]
        parts = (f"{name} {own[row, c]:z.0f}° and {pose[row, c]:z.0f}°" for c, name in enumerate(ANGLES))
        survey.problems.add("pose", face.id, f"own and fitted {', '.join(parts)}", face)
