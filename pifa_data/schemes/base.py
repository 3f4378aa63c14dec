"""What a landmark scheme is, and how one is written down as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pifa_data.errors import PifaError

NOISE = 0.009
"""The ``noise`` of schemes labelled along well-defined edges: ``benchmarks/noise.py`` finds 0.008 (``builtin``) and
0.0096 (``ict``) for MERL-RAV's ibug68; the few labels of other schemes at hand do not contradict it."""


@dataclass(frozen=True)
class Scheme:
    """One landmark scheme.

    Attributes:
        name: the scheme's name in stores, checkpoints and on the command line.
        points: anatomical name of each landmark.
        groups: landmark numbers of each part of the face.
        mirror: ``mirror[i]`` is the landmark that *i* becomes when the image is flipped left to right.
        contour: landmarks whose ``2d`` labels follow the visible silhouette of the face.
        eye_corners: the outer eye corners, whose distance is the ``interocular`` normaliser; the pupils where a
            scheme has no corners.
        noise: standard deviation of one label coordinate around the fitted model, as a share of the
            tight box's size; the regularisation of the fit.
    """

    name: str
    points: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    mirror: np.ndarray
    contour: tuple[int, ...]
    eye_corners: tuple[int, int]
    noise: float

    def __len__(self) -> int:
        return len(self.points)


def other_side(name: str) -> str:
    """The name of a point's or group's mirror image: ``right_…`` and ``left_…`` change places, others stay."""
    side, _, rest = name.partition("_")
    return {"right": f"left_{rest}", "left": f"right_{rest}"}.get(side, name)


def numbered_scheme(
    name: str,
    groups: Mapping[str, Iterable[int]],
    pairs: Iterable[tuple[int, int]],
    *,
    contour: tuple[int, ...],
    eye_corners: tuple[int, int],
    noise: float = NOISE,
) -> Scheme:
    """A scheme whose points run along the face's parts: named ``GROUP_POSITION``, mirror given as pairs."""
    members = {group: tuple(landmarks) for group, landmarks in groups.items()}
    names = {
        landmark: f"{group}_{position}"
        for group, landmarks in members.items()
        for position, landmark in enumerate(landmarks)
    }
    mirror = np.arange(len(names))
    for a, b in pairs:
        mirror[a], mirror[b] = b, a
    points = tuple(names[i] for i in range(len(names)))
    return Scheme(name, points, members, mirror, contour, eye_corners, noise)


def named_scheme(
    name: str,
    points: tuple[str, ...],
    groups: Mapping[str, Iterable[str]],
    *,
    eye_corners: tuple[str, str],
    contour: tuple[str, ...] = (),
    noise: float = NOISE,
) -> Scheme:
    """A scheme of single points with anatomical names: the mirror follows from the names (``right_…``, ``left_…``)."""
    number = {point: i for i, point in enumerate(points)}
    return Scheme(
        name=name,
        points=points,
        groups={group: tuple(number[point] for point in members) for group, members in groups.items()},
        mirror=np.array([number[other_side(point)] for point in points]),
        contour=tuple(number[point] for point in contour),
        eye_corners=(number[eye_corners[0]], number[eye_corners[1]]),
        noise=noise,
    )


def subset(name: str, scheme: Scheme, kept: Iterable[int], *, noise: float | None = None) -> Scheme:
    """The scheme of some of another one's points, in their order; both eye corners must be among them."""
    chosen = list(kept)
    number = {old: new for new, old in enumerate(chosen)}
    missing = [i for i in scheme.eye_corners if i not in number]
    if missing:
        raise PifaError(f"{name}: the eye corners {missing} of {scheme.name} are left out")
    groups = {group: tuple(number[i] for i in members if i in number) for group, members in scheme.groups.items()}
    return Scheme(
        name=name,
        points=tuple(scheme.points[i] for i in chosen),
        groups={group: members for group, members in groups.items() if members},
        mirror=np.array([number[int(scheme.mirror[i])] for i in chosen]),
        contour=tuple(number[i] for i in scheme.contour if i in number),
        eye_corners=(number[scheme.eye_corners[0]], number[scheme.eye_corners[1]]),
        noise=scheme.noise if noise is None else noise,
    )
