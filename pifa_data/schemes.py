"""Landmark schemes: what landmark *i* means, how points group, and which point is its mirror image.

"right" and "left" are the subject's own, as in anatomy: the right eye of a frontal face is on the image's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.errors import PifaError


@dataclass(frozen=True)
class Scheme:
    """One landmark scheme.

    Attributes:
        name: the scheme's name in stores, checkpoints and on the command line.
        points: anatomical name of each landmark.
        groups: landmark numbers of each part of the face.
        mirror: ``mirror[i]`` is the landmark that *i* becomes when the image is flipped left to right.
        contour: landmarks whose ``2d`` labels follow the visible silhouette of the face.
        eye_corners: the outer eye corners, whose distance is the ``interocular`` normaliser.
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


def _ibug68() -> Scheme:
    groups = {
        "jaw": range(0, 17),
        "right_brow": range(17, 22),
        "left_brow": range(22, 27),
        "nose": range(27, 36),
        "right_eye": range(36, 42),
        "left_eye": range(42, 48),
        "outer_lip": range(48, 60),
        "inner_lip": range(60, 68),
    }
    names = [""] * 68
    for group, members in groups.items():
        for position, landmark in enumerate(members):
            names[landmark] = f"{group}_{position}"
    mirror = np.arange(68)
    pairs = [(i, 16 - i) for i in range(8)]  # jaw, ear to ear; 8 is the chin
    pairs += [(17 + i, 26 - i) for i in range(5)]  # brows, outer end to outer end
    pairs += [(31, 35), (32, 34)]  # nostrils; 27-30 and 33 lie on the midline
    # Eyes run clockwise as seen in the image from the image-left corner, so the order turns round when mirrored.
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58)]  # outer lip; 51 and 57 on the midline
    pairs += [(60, 64), (61, 63), (65, 67)]  # inner lip; 62 and 66 on the midline
    for a, b in pairs:
        mirror[a], mirror[b] = b, a
    return Scheme(
        name="ibug68",
        points=tuple(names),
        groups={group: tuple(members) for group, members in groups.items()},
        mirror=mirror,
        contour=tuple(range(17)),
        eye_corners=(36, 45),
        noise=0.012,
    )


SCHEMES: dict[str, Scheme] = {"ibug68": _ibug68()}


def get_scheme(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        PifaError: no scheme has that name.
    """
    try:
        return SCHEMES[name]
    except KeyError:
        raise PifaError(f"landmark scheme {name!r} is not known; known: {', '.join(SCHEMES)}") from None


def scheme_of_count(count: int) -> Scheme | None:
    """The scheme with that many points, where exactly one has it."""
    found = [scheme for scheme in SCHEMES.values() if len(scheme) == count]
    return found[0] if len(found) == 1 else None
