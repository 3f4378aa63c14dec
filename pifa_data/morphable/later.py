"""Landmarks of schemes that a model's file has no vertices for, because they came later than the file's form.

They are told from the file's ibug68 vertices, as an import tells all schemes, when they are first asked for. They are
no part of what is stored, nor of the fingerprint: a model made before a scheme was known has it too, and stays the
model that stores and checkpoints name. Models of one fingerprint are told the same, since all that is told comes from
what the fingerprint is made of, and from the scheme's places: these stay as they are once a version has had them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import lru_cache
from typing import TypeVar

import numpy as np

from pifa_data.morphable.contours import contour_lines
from pifa_data.morphable.model import Contour, MorphableModel
from pifa_data.morphable.places import LOOSE, loose_landmarks, scheme_vertices
from pifa_data.schemes import SCHEMES

T = TypeVar("T")


class Later(Mapping[str, T]):
    """What is stored by scheme, and behind it what is told of other schemes when it is first asked for."""

    def __init__(self, stored: Mapping[str, T], names: tuple[str, ...], tell: Callable[[str], T]) -> None:
        self.stored = stored
        self._names = names
        self._tell = tell
        self._told: dict[str, T] = {}

    def __getitem__(self, scheme: str) -> T:
        if scheme in self._names:
            if scheme not in self._told:
                self._told[scheme] = self._tell(scheme)
            return self._told[scheme]
        return self.stored[scheme]

    def __contains__(self, scheme: object) -> bool:
        return scheme in self.stored or scheme in self._names  # Mapping's own would tell it

    def __iter__(self) -> Iterator[str]:
        yield from self.stored
        yield from self._names

    def __len__(self) -> int:
        return len(self.stored) + len(self._names)


class _Teller:
    """Tells the vertices and contour lines of a model's later schemes."""

    def __init__(self, model: MorphableModel, loose: np.ndarray) -> None:
        self._model = model
        self._loose = loose

    def vertices(self, scheme: str) -> np.ndarray:
        model = self._model
        return scheme_vertices(model.mean, self._skin(), model.landmarks["ibug68"], self._loose, (scheme,))[scheme]

    def contour(self, scheme: str) -> Contour:
        model = self._model
        points = SCHEMES[scheme].contour
        return contour_lines(model.mean, self._skin(), self.vertices(scheme), points, model.nose_tip)

    def _skin(self) -> np.ndarray:
        """``(V, 3)`` normals, none at the loose vertices: they are no other landmark's skin."""
        normals = self._model.normals.copy()
        normals[self._loose[self._loose >= 0]] = 0
        return normals


def with_later_schemes(model: MorphableModel) -> MorphableModel:
    """The model with the landmarks and contour lines of every known scheme that can be told; as it is if none can.

    Pupils and the mouth's centre need a vertex of their own, which no skin is near: it is known where another scheme of
    the file has it.
    """
    stored = model.stored_landmarks
    if "ibug68" not in stored:
        return model
    loose = np.full(len(LOOSE), -1, dtype=np.int32)
    for scheme, vertices in sorted(stored.items()):  # as in the fingerprint, whose order is not the file's
        for point, landmark in _loose(scheme):
            loose[point] = vertices[landmark]
    names = tuple(
        scheme for scheme in SCHEMES if scheme not in stored and all(loose[point] >= 0 for point, _ in _loose(scheme))
    )
    if not names:
        return model
    teller = _Teller(model, loose)
    outlined = tuple(scheme for scheme in names if SCHEMES[scheme].contour)
    whole = copy(model)  # `replace` would look again for numbers that are not finite, in all modes
    whole.__dict__.update(
        landmarks=Later(stored, names, teller.vertices),
        contours=Later(model.stored_contours, outlined, teller.contour),
    )
    return whole


_loose = lru_cache(maxsize=64)(loose_landmarks)  # asked for each scheme at each load
