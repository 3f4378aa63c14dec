"""Several schemes in one: the union of their points, named as ``ibug68+aflw21``, and what two schemes share.

Data sets labelled in different schemes are joined in the union: each face has visibility 0 where its own scheme has
no point. Two points are one where they stand for the same place on the head (``pifa_data.morphable.places``); the 33
points along an outline (WFLW, LaPa) are places of their own, since they lie at equal distances and not at ibug68's.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.schemes.base import Scheme

SIGN = "+"
"""Between the names of a union."""

_OUTLINE = 33


def leading_scheme(name: str) -> str:
    """The first scheme of a union, which says what the box around a face's landmarks is; a single scheme itself."""
    return name.partition(SIGN)[0]


def union_name(names: set[str], order: list[str]) -> str:
    """The name of the union of some schemes, in the registry's ``order`` whichever order the sources stand in."""
    return SIGN.join(name for name in order if name in names)


@lru_cache(maxsize=32)
def members(name: str) -> tuple[tuple[str, int], ...]:
    """Where each point of a union comes from: the first of its schemes that has it, and its number there.

    Raises:
        PifaError: a scheme that is not known, is itself a union, or stands there twice.
    """
    found: dict[Hashable, tuple[str, int]] = {}
    parts = name.split(SIGN)
    if len(set(parts)) != len(parts):
        raise PifaError(f"landmark scheme {name!r}: expected each scheme once")
    for part in parts:
        for i, place in enumerate(_places(part)):
            found.setdefault(place, (part, i))
    return tuple(found.values())


@lru_cache(maxsize=32)
def union(name: str) -> Scheme:
    """The scheme of that name, as ``ibug68+aflw21``: the first one's points, then those that the others add.

    Eye corners are the first scheme's; ``noise`` is the largest.

    Raises:
        PifaError: a scheme that is not known, is itself a union, or stands there twice.
    """
    from pifa_data.schemes.registry import get_scheme

    points = members(name)
    parts = {part: get_scheme(part) for part in name.split(SIGN)}
    number = {part: correspondence(part, name) for part in parts}
    first = next(iter(parts))
    names: dict[str, int] = {}
    groups: dict[str, list[int]] = {}
    mirror = np.zeros(len(points), dtype=np.int64)
    contour = []
    for at, (part, i) in enumerate(points):
        scheme = parts[part]
        own = scheme.points[i]
        # Numbered points ("jaw_17") say nothing without their scheme; anatomical names are everybody's.
        names[own if part == first or not own[-1].isdigit() else f"{part}_{own}"] = at
        mirror[at] = number[part][scheme.mirror[i]]
        if i in scheme.contour:
            contour.append(at)
        for group, numbers in scheme.groups.items():
            if i in numbers:
                groups.setdefault(group, []).append(at)
    right, left = (int(number[first][i]) for i in parts[first].eye_corners)
    return Scheme(
        name=name,
        points=tuple(names),
        groups={group: tuple(numbers) for group, numbers in groups.items()},
        mirror=mirror,
        contour=tuple(contour),
        eye_corners=(right, left),
        noise=max(scheme.noise for scheme in parts.values()),
    )


@lru_cache(maxsize=64)
def correspondence(source: str, target: str) -> np.ndarray:
    """For each point of ``source`` the number of the same place in ``target``, −1 where it has none: ``(L,)`` int64.

    Raises:
        PifaError: a scheme that is not known.
    """
    place_of = {place: at for at, place in enumerate(_places(target))}
    numbers = np.array([place_of.get(place, -1) for place in _places(source)], dtype=np.int64)
    numbers.flags.writeable = False  # it is shared by all who ask
    return numbers


def to_scheme(landmarks: np.ndarray, visibility: np.ndarray, source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels of one scheme as labels of another: visibility 0, and zeros, where the source has no such point.

    Args:
        landmarks: ``(..., L, 2)``.
        visibility: ``(..., L)`` uint8.

    Returns:
        ``(..., L', 2)`` and ``(..., L')``.
    """
    if source == target:
        return landmarks, visibility
    numbers = correspondence(source, target)
    shared = np.flatnonzero(numbers >= 0)
    count = len(_places(target))
    points = np.zeros((*visibility.shape[:-1], count, 2), landmarks.dtype)
    seen = np.zeros((*visibility.shape[:-1], count), np.uint8)
    points[..., numbers[shared], :] = landmarks[..., shared, :]
    seen[..., numbers[shared]] = visibility[..., shared]
    return points, seen


def _places(name: str) -> list[Hashable]:
    """What makes a point of a scheme the same as another's, for each of its points."""
    # The places tell schemes' points by ibug68's and therefore import the schemes.
    from pifa_data.morphable.places import places_of
    from pifa_data.schemes.registry import SCHEMES

    if SIGN in name:
        return [_places(part)[i] for part, i in members(name)]
    if name not in SCHEMES:
        raise PifaError(f"landmark scheme {name!r} is not known; known: {', '.join(SCHEMES)}")
    scheme = SCHEMES[name]
    outline = set(scheme.contour) if len(scheme.contour) == _OUTLINE else set()
    found: dict[Hashable, None] = {}
    for i, place in enumerate(places_of(name)):
        key = (tuple(sorted(place.weights.items())), place.out, place.up, place.forward)
        # A scheme may name a place twice (LaPa, the pupils): the first of the two is what others share.
        found[(name, i) if i in outline or key in found else key] = None
    return list(found)
