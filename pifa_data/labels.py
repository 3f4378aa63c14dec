"""Labels before they enter a store: fitted, freed from slips, brought to one scheme, and checked against the image."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pifa_data.boxes import tight_box
from pifa_data.camera import decompose
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.fitting import Fits, Fitters, LandmarkFitter, landmarks_of
from pifa_data.schemes import get_scheme, leading_scheme, to_scheme

OUTSIDE = 0.5
"""Share of labelled points outside the image beyond which labels and image do not belong together."""

FAR = 0.5
"""How far outside a single point may be, as a share of the image's side; farther is a slip, not a guess."""

SMALLEST_FACE = 4.0
"""Pixels, √(w·h) of the box: a crop of less shows no face, but labels in other units than pixels can be so small."""

WILD = 15.0
"""Distance of a label from its fitted point, in units of the scheme's noise, beyond which it is a slip and not a label:
it would spoil the box, the crop and the loss. It is an eighth of the face; 8 labels of ytf68's 224,536 (of two faces)
and 0.06 % of MERL-RAV's are as far."""

WORST_FIT = 25.0
"""Percent of the tight box. Of ytf68's 3,302 faces all but one fit within 2.5 %, and that one within 8 %; labels of no
face at all give 30 % and more. A single slipped point is let go by the fit and hardly shows here."""


def fit_faces(faces: list[Face], fitter: LandmarkFitter, mirrored: bool = False) -> Fits:
    """Fit each face by its own landmark kind.

    With ``mirrored``, x is turned over to −x and each label takes its mirror image's number: the labels of the
    flipped image, in the frame where the flip is about x = 0.
    """
    landmarks = np.stack([face.landmarks for face in faces])
    visibility = np.stack([face.visibility for face in faces])
    if mirrored:
        order = get_scheme(faces[0].scheme).mirror
        landmarks, visibility = landmarks[:, order] * [-1.0, 1.0], visibility[:, order]
    kinds = np.array([face.kind for face in faces])
    rows: dict[str, np.ndarray] = {}
    for kind in np.unique(kinds):
        at = np.flatnonzero(kinds == kind)
        fits = fitter.fit(landmarks[at], visibility[at], str(kind))
        for field in fields(Fits):
            part = getattr(fits, field.name)
            rows.setdefault(field.name, np.empty((len(faces), *part.shape[1:]), part.dtype))[at] = part
    return Fits(**rows)


def without_slips(faces: list[Face], fits: Fits, fitter: LandmarkFitter) -> np.ndarray:
    """Visibility ``(F, L)`` uint8 of the labels, 0 for those that lie ``WILD`` from where the fit has them."""
    visibility = np.stack([face.visibility for face in faces])
    away = np.linalg.norm(np.stack([face.landmarks for face in faces]) - fits.landmarks, axis=2)
    return np.where(is_slip(away, fits.cameras, fitter), 0, visibility).astype(np.uint8)


def is_slip(away: np.ndarray, cameras: np.ndarray, fitter: LandmarkFitter) -> np.ndarray:
    """``(F, L)`` bool: labels that lie ``away`` from where the fit has them (pixels) by ``WILD`` and more."""
    scale, _, _ = decompose(cameras)
    # Not "~(away <= …)": a fit that failed (NaN) says nothing of the labels.
    return away > WILD * (fitter.sigma * scale)[:, None]


def fit_safely(faces: list[Face], fitter: LandmarkFitter, mirrored: bool = False) -> Fits:
    """As ``fit_faces``; a face whose equations can't be solved gets NaN and costs no other face its fit."""
    try:
        return fit_faces(faces, fitter, mirrored)
    except np.linalg.LinAlgError:
        solvable = [i for i, face in enumerate(faces) if _is_solvable(face, fitter, mirrored)]
        part = fit_faces([faces[i] for i in solvable], fitter, mirrored) if solvable else None
    nothing = fitter.no_fits(len(faces))
    if part is not None:
        for field in fields(Fits):
            getattr(nothing, field.name)[solvable] = getattr(part, field.name)
    return nothing


def _is_solvable(face: Face, fitter: LandmarkFitter, mirrored: bool) -> bool:
    try:
        fit_faces([face], fitter, mirrored)
    except np.linalg.LinAlgError:
        return False
    return True


@dataclass(frozen=True)
class Fitted:
    """Fits of F faces, and their labels in the store's scheme."""

    params: np.ndarray
    params_mirrored: np.ndarray
    nme: np.ndarray
    nme_mirrored: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    tight: np.ndarray

    def take(self, rows: slice | np.ndarray) -> Fitted:
        """Those of some faces, an array each of its own."""
        return Fitted(*(getattr(self, field.name)[rows].copy() for field in fields(self)))


def fit_labels(faces: list[Face], scheme: str, fitters: Fitters) -> Fitted:
    """Fit each face in its own scheme, let go of slips, and bring labels and tight box to the store's ``scheme``."""
    rows: dict[str, np.ndarray] = {}
    for own in sorted({face.scheme for face in faces}):
        at = [f for f, face in enumerate(faces) if face.scheme == own]
        part, fitter = [faces[f] for f in at], fitters(own)
        fits, mirrored = fit_safely(part, fitter), fit_safely(part, fitter, mirrored=True)
        labels = np.stack([face.landmarks for face in part])
        seen = without_slips(part, fits, fitter)
        landmarks, visibility = to_scheme(labels, seen, own, scheme)
        found = {
            "params": fits.params,
            "params_mirrored": mirrored.params,
            "nme": fits.nme,
            "nme_mirrored": mirrored.nme,
            "landmarks": landmarks,
            "visibility": visibility,
            "tight": tight_boxes(part, seen, fits.params, leading_scheme(scheme), fitters),
        }
        for name, array in found.items():
            rows.setdefault(name, np.empty((len(faces), *array.shape[1:]), array.dtype))[at] = array
    return Fitted(**rows)


def tight_boxes(
    faces: list[Face], visibility: np.ndarray, params: np.ndarray, scheme: str, fitters: Fitters
) -> np.ndarray:
    """The box around each face's landmarks, of faces of one scheme: ``(F, 4)`` float64 pixels.

    Around the labels, where the face has those of ``scheme``; of another scheme's (which may have no jaw, or have ears)
    around the fitted points of ``scheme``, so that a box means the same crop on every face.

    Args:
        visibility: ``(F, L)`` uint8, which labels count.
        params: ``(F, 8 + K)`` fits, image pixels.
    """
    if faces[0].scheme == scheme:
        nothing = np.full(4, np.nan)  # where every label is a slip
        pairs = zip(faces, visibility, strict=True)
        return np.stack([tight_box(face.landmarks, seen) if seen.any() else nothing for face, seen in pairs])
    boxes = np.empty((len(faces), 4))
    for f, face in enumerate(faces):
        points = landmarks_of(fitters.model, scheme, params[f : f + 1], face.kind)[0]
        boxes[f] = tight_box(points, np.ones(len(points)))
    return boxes


def check_inside(face: Face, shape: tuple[int, ...]) -> None:
    """Check that labels and image belong together.

    Raises:
        AnnotationError: most points outside the image of ``shape`` (H, W, …), or one of them far outside.
    """
    points = face.landmarks[face.visibility > 0]
    sides = np.array([shape[1], shape[0]], dtype=np.float64)
    beyond = np.maximum(-0.5 - points, points - (sides - 0.5)) / sides
    outside = (beyond > 0).any(1).mean()
    size = f"the image of {shape[1]}x{shape[0]} pixels"
    if outside > OUTSIDE:
        raise AnnotationError(f"{face.image}: {outside:.0%} of the landmarks lie outside {size}")
    if beyond.max() > FAR:
        raise AnnotationError(f"{face.image}: a landmark lies far outside {size}")
