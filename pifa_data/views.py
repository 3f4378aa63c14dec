"""Face profiling's part in a store: how many turned views a face gets, how far each is turned, and its rows.

A view is a row of the face table beside its face's. It has a picture of its own, the square around the turned face, and
everything told in pixels is told in those of that picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import detector_box, face_rng
from pifa_data.camera import pose_angles
from pifa_data.faces import Face
from pifa_data.labels import Fitted
from pifa_data.morphable import MorphableModel

PROFILE_VIEWS = 3
"""Turned views a face."""

APART = np.radians(5.0)
"""A view is turned by that much at least: less is no other picture."""

EITHER_SIDE = np.radians(10.0)
"""A face nearer to frontal is turned to either side, since the image shows both."""

ROOM = 11 / 7
"""Side of a view's picture over the side of a crop: the shift and growth of a crop by four standard deviations."""

FINER = 1.25
"""Pixels of a view's picture for each of a crop: crops are resampled from it, and it from the image."""


@dataclass(frozen=True)
class View:
    """One turned view, ready to be cut into crops.

    Attributes:
        number: 1 … ``PROFILE_VIEWS``.
        id: ``FACE@yawNUMBER``; seeds its random numbers.
        image: ``(S, S, 3)`` uint8 RGB.
        box: ``(4,)`` the unjittered box in it.
        turn: radians added to the yaw.
        params, params_mirrored: ``(8 + K,)`` M in pixels of ``image``, and in the frame flipped about its x = 0.
        landmarks: ``(L, 2)`` f(P).
        visibility: ``(L,)`` uint8: 0 where the face itself has no label, else 1 hidden, 2 visible.
    """

    number: int
    id: str
    image: np.ndarray
    box: np.ndarray
    turn: float
    params: np.ndarray
    params_mirrored: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray


def table_rows(profile: float | None) -> int:
    """Rows of the face table for each face: itself, and its turned views where ``profile`` degrees are given."""
    return 1 if profile is None else 1 + PROFILE_VIEWS


def view_id(face_id: str, number: int) -> str:
    """Name of a view; of number 0 the face's own."""
    return f"{face_id}@yaw{number}" if number else face_id


def view_yaws(face_id: str, yaw: float, largest: float, seed: int) -> list[float]:
    """The yaw of each view of a face, radians; none if the face itself is turned as far as they may be.

    The k-th is drawn uniformly from the k-th third between the face's own, ``APART`` added, and the largest. It is a
    function of (seed, face, k).

    Args:
        yaw: of the face.
        largest: of a view.
    """
    first = abs(yaw) + APART
    step = (largest - first) / PROFILE_VIEWS
    if step <= 0:
        return []
    yaws = []
    for k in range(PROFILE_VIEWS):
        far, side = face_rng(seed, view_id(face_id, k + 1), 0).random(2)
        sign = yaw if abs(yaw) >= EITHER_SIDE else side - 0.5
        yaws.append(float(np.copysign(first + (k + far) * step, sign)))
    return yaws


class ViewMaker:
    """Makes the views of a store's faces."""

    def __init__(
        self, model: MorphableModel, scheme: str, *, largest: float, seed: int, boxes: str, grow: float, size: int
    ) -> None:
        """Prepare what all faces share; arguments as in ``PrepConfig``, ``largest`` in radians."""
        pixels = 2 * round(ROOM * FINER * size / 2)
        from pifa_data.profiling import FaceTurner  # SciPy's graphs take 0.2 s, which only profiling needs

        self._turner = FaceTurner(model, scheme, grow=ROOM * grow, size=pixels)
        self._largest, self._seed, self._boxes = largest, seed, boxes

    def views(self, face: Face, fitted: Fitted, f: int, image: np.ndarray) -> Iterator[View]:
        """The views of a face whose fit and labels stand in row ``f`` of ``fitted``."""
        own = float(pose_angles(fitted.params[f, :8].reshape(2, 4))[0])
        yaws = view_yaws(face.id, own, self._largest, self._seed)
        box = face.box if self._boxes == "dataset" else None
        for k, turned in enumerate(self._turner.turn(image, fitted.params[f], face.kind, yaws, box)):
            labelled = fitted.visibility[f]
            around = turned.box
            if self._boxes == "detector":
                around = detector_box(around, np.array(yaws[k]))
            yield View(
                number=k + 1,
                id=view_id(face.id, k + 1),
                image=turned.image,
                box=around,
                turn=yaws[k] - own,
                params=turned.params,
                params_mirrored=self._turner.mirrored(fitted.params_mirrored[f], turned),
                landmarks=turned.landmarks,
                # What an occluder hides, it hides still: it is part of the texture.
                visibility=np.minimum(labelled, turned.visibility),
            )
