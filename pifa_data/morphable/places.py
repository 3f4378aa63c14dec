"""Where every scheme's landmarks lie, told by ibug68's: so a model that has the 68 has all schemes.

A place is a weighted mean of ibug68's points plus an offset in units of the distance between the outer eye corners
(89 mm on an average face): out from the midline to the subject's side, up, and forward to the viewer. A landmark then
is the nearest skin vertex; a place that is one of ibug68's own points is that vertex. Only the subject's right half and
the midline are written down; the left half is the mirror image.

Weights and offsets come from faces labelled in these schemes (AFLW-19, COFW, WFLW, LaPa) and from 300W's frontal
faces, all brought to the same eye corners; where two annotators differ by more than the offset, it is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pifa_data.schemes import get_scheme, other_side

LOOSE = ("right_pupil", "left_pupil", "mouth_centre")
"""Places that are no skin: in the opening of an eye or between the lips. A model gets a vertex of its own for each."""


@dataclass(frozen=True)
class Place:
    """A weighted mean of ibug68's points plus an offset (out, up, forward) in outer eye distances."""

    weights: dict[int, float]
    out: float = 0.0
    up: float = 0.0
    forward: float = 0.0

    @property
    def ibug(self) -> int | None:
        """The number of the one ibug68 point that this place is, if it is one."""
        if len(self.weights) == 1 and not (self.out or self.up or self.forward):
            return next(iter(self.weights))
        return None

    def mirrored(self) -> Place:
        """The same place on the other side of the face."""
        mirror = get_scheme("ibug68").mirror
        return Place({int(mirror[i]): w for i, w in self.weights.items()}, -self.out, self.up, self.forward)

    def at(self, points: np.ndarray) -> np.ndarray:
        """``(3,)`` of the place among ``(68, 3)`` points."""
        unit = np.linalg.norm(points[45] - points[36])
        # Out is to the subject's right (−x) for places written down, and turned round by `mirrored`.
        return self.mean(points) + unit * np.array([-self.out, self.up, self.forward])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The weighted mean of ``(68, ...)`` values, as vertices' movements."""
        return np.tensordot(np.array(list(self.weights.values())), values[list(self.weights)], axes=1)


def _on(landmark: int) -> Place:
    return Place({landmark: 1.0})


# The subject's right half and the midline of the schemes whose points have anatomical names.
_NAMED = {
    # AFLW's brow points run along the middle of the hair, some 4 mm below ibug68's upper edge; its outer corner lies
    # well before the tip of the tail, COFW's nearer to it.
    "right_brow_outer": Place({17: 0.5, 18: 0.5}, up=-0.04),
    "right_brow_middle": Place({19: 0.7, 20: 0.3}, up=-0.05),
    "right_brow_inner": Place({21: 0.6, 20: 0.4}, up=-0.04),
    # COFW labels both edges; the hair is 6-7 mm high there.
    "right_brow_upper": Place({19: 0.8, 20: 0.2}),
    "right_brow_lower": Place({19: 0.8, 20: 0.2}, up=-0.075),
    "right_eye_outer": _on(36),
    "right_eye_inner": _on(39),
    "right_lid_upper": Place({37: 0.5, 38: 0.5}, up=0.01),
    "right_lid_lower": Place({41: 0.5, 40: 0.5}, up=-0.01),
    # The cornea stands about 2.5 mm before the mean of the lids' and corners' points.
    "right_pupil": Place(dict.fromkeys(range(36, 42), 1 / 6), forward=0.03),
    # The lobe: half an inch behind the jaw's line, which runs down before the ear.
    "right_ear": Place({2: 0.5, 3: 0.5}, out=0.06, forward=-0.16),
    # The widest point of the wing; ibug68's 31 is at the nostril's rim, lower and further in: by how much differs from
    # model to model, so that the midline has half a say.
    "right_nose_wing": Place({31: 0.5, 33: 0.5}, out=0.115, up=0.075, forward=-0.06),
    "nose_tip": _on(30),
    "nose_bridge": _on(27),
    "nose_base": _on(33),
    "right_mouth_corner": _on(48),
    "mouth_centre": Place({62: 0.5, 66: 0.5}),
    "upper_lip": _on(51),
    "upper_lip_lower": _on(62),
    "lower_lip_upper": _on(66),
    "lower_lip": _on(57),
    "chin": _on(8),
    # AFLW's chin is its middle, above the outline, which runs below the chin on some models.
    "chin_centre": Place({8: 1.0}, up=0.06, forward=0.09),
    "right_jaw_upper": _on(2),
    "right_jaw_middle": _on(4),
    "right_jaw_lower": _on(6),
}

# WFLW's points besides the outline; the subject's right half and the midline.
_WFLW = {
    # The brow: its outer tip, the upper edge inwards, the lower edge (6 mm below) outwards.
    33: Place({17: 0.9, 18: 0.1}),
    34: Place({18: 0.45, 19: 0.55}),
    35: Place({19: 0.7, 20: 0.3}),
    36: _on(20),
    37: Place({21: 0.7, 20: 0.3}),
    38: Place({21: 0.7, 20: 0.3}, up=-0.06),
    39: Place({20: 1.0}, up=-0.07),
    40: Place({19: 0.7, 20: 0.3}, up=-0.07),
    41: Place({18: 0.45, 19: 0.55}, up=-0.06),
    # The nose: four points from the bridge down, beginning above ibug68's and ending below its tip; the wings' points
    # lie further out and up on the rims.
    51: Place({27: 1.0}, up=0.03),
    52: Place({28: 0.9, 29: 0.1}),
    53: Place({29: 0.85, 30: 0.15}),
    54: Place({30: 0.7, 33: 0.3}),
    55: Place({31: 0.5, 33: 0.5}, out=0.09, up=0.035, forward=-0.04),
    56: Place({32: 1.0}, out=0.015),
    57: _on(33),
    # Eight points at equal distances round the eye where ibug68 has six, and the pupil.
    60: _on(36),
    61: Place({37: 0.82, 36: 0.18}),
    62: Place({37: 0.5, 38: 0.5}, up=0.01),
    63: Place({38: 0.7, 39: 0.3}),
    64: _on(39),
    65: Place({40: 0.7, 39: 0.3}),
    66: Place({40: 0.5, 41: 0.5}, up=-0.01),
    67: Place({41: 0.82, 36: 0.18}),
    96: _NAMED["right_pupil"],
    # The lips are ibug68's.
    **{76 + i: _on(48 + i) for i in (0, 1, 2, 3, 9, 10, 11)},
    **{88 + i: _on(60 + i) for i in (0, 1, 2, 6, 7)},
}

# LaPa's, from the labels of two faces (four sides of faces, 1-2 mm apart).
_LAPA = {
    # The brow as WFLW's, its upper edge at ibug68's points.
    **{33 + i: _on(17 + i) for i in range(5)},
    38: Place({21: 0.85, 20: 0.15}, up=-0.06),
    39: Place({20: 1.0}, up=-0.07),
    40: Place({19: 0.95, 20: 0.05}, up=-0.07),
    41: Place({18: 0.8, 19: 0.2}, up=-0.06),
    # The bridge, then the nose's outline: its root beside the inner corner of the eye, the wing's top and widest point,
    # and three at the nostrils.
    **{51 + i: _on(27 + i) for i in range(4)},
    55: Place({39: 0.67, 28: 0.33}),
    56: Place({31: 0.6, 39: 0.4}, forward=0.1),
    57: Place({31: 0.5, 33: 0.5}, out=0.145, up=0.085, forward=-0.04),
    58: Place({31: 0.8, 32: 0.2}, up=0.02),
    59: Place({32: 1.0}, up=0.02),
    60: _on(33),
    # The eye as WFLW's; the opening's centre is labelled at the pupil.
    **{66 + i: _WFLW[60 + i] for i in range(8)},
    74: _NAMED["right_pupil"],
    104: _NAMED["right_pupil"],
    # The lips are ibug68's, but the inner ones' points lie further out.
    **{84 + i: _on(48 + i) for i in (0, 1, 2, 3, 9, 10, 11)},
    96: Place({60: 0.82, 61: 0.18}),
    97: Place({61: 0.7, 60: 0.3}),
    98: _on(62),
    102: _on(66),
    103: Place({67: 0.7, 60: 0.3}),
}

_NUMBERED = {"wflw98": _WFLW, "lapa106": _LAPA}

_OUTLINE = 33  # points of WFLW and LaPa along the face's outline

OUTLINE_ABOVE = 0.18
"""Outer eye distances that WFLW's outline goes on above ibug68's first jaw point: it begins level with the brows.
LaPa's begins 0.16 ± 0.04 above it."""


def _named(point: str) -> Place:
    return _NAMED[point] if point in _NAMED else _NAMED[other_side(point)].mirrored()


def places_of(scheme: str) -> list[Place]:
    """The place of each landmark of a scheme. Of the outlines they only tell the skin around; see `positions`."""
    if scheme == "ibug68":
        return [_on(i) for i in range(68)]
    if scheme == "ibug51":
        return [_on(i) for i in range(17, 68)]
    known = get_scheme(scheme)
    if scheme in _NUMBERED:
        outline = {i: Place({i // 2: 0.5, (i + 1) // 2: 0.5}) if i % 2 else Place({i // 2: 1.0}) for i in range(33)}
        right = {**_NUMBERED[scheme], **outline}
        return [right[i] if i in right else right[int(known.mirror[i])].mirrored() for i in range(len(known))]
    return [_named(point) for point in known.points]


def positions(scheme: str, points: np.ndarray) -> np.ndarray:
    """Where a scheme's landmarks lie, before the nearest skin is looked for.

    Args:
        points: ``(68, 3)`` of ibug68, any units, x to the image's right, y up, z towards the viewer.

    Returns:
        ``(L, 3)``, the same units.
    """
    found = np.stack([place.at(points) for place in places_of(scheme)])
    if scheme in _NUMBERED:
        found[:_OUTLINE] = _outline(points)
    return found


def _outline(points: np.ndarray) -> np.ndarray:
    """Points at equal distances along ibug68's jaw, which goes on upwards at both ends: ``(33, 3)``."""
    unit = np.linalg.norm(points[45] - points[36])
    ends = [points[i] + OUTLINE_ABOVE * unit * _unit(points[i] - points[j]) for i, j in ((0, 1), (16, 15))]
    line = np.concatenate([ends[:1], points[:17], ends[1:]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    # Each half by itself, so that the middle one is the chin, whichever side is longer.
    chin, half = along[9], _OUTLINE // 2
    wanted = np.concatenate([np.linspace(0, chin, half + 1), np.linspace(chin, along[-1], half + 1)[1:]])
    return np.stack([np.interp(wanted, along, line[:, axis]) for axis in range(3)], axis=1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


SKIN, FACING = 0.3, 0.035
"""Of the nearest skin: least cosine between its normal and that of ibug68's vertices around; and outer eye distances
(3 mm) that a vertex may be farther off if its normal agrees entirely rather than not at all."""


def loose_mean(points: np.ndarray) -> np.ndarray:
    """Where LOOSE's vertices lie in the mean face: ``(68, 3)`` of ibug68 to ``(3, 3)``."""
    return np.stack([_named(point).at(points) for point in LOOSE])


def loose_modes(movements: np.ndarray) -> np.ndarray:
    """How LOOSE's vertices move: ``(K, 68, 3)`` of ibug68 to ``(K, 3, 3)``; a weighted mean moves as its points do."""
    rows = movements.transpose(1, 0, 2)
    return np.stack([_named(point).mean(rows) for point in LOOSE], axis=1)


def loose_landmarks(scheme: str) -> tuple[tuple[int, int], ...]:
    """The landmarks of a scheme that need a loose vertex: number in LOOSE, number in the scheme."""
    loose = [_named(point) for point in LOOSE]
    return tuple((loose.index(place), i) for i, place in enumerate(places_of(scheme)) if place in loose)


def scheme_vertices(
    mean: np.ndarray, normals: np.ndarray, ibug68: np.ndarray, loose: np.ndarray, schemes: Iterable[str]
) -> dict[str, np.ndarray]:
    """Landmark vertices of some schemes.

    Args:
        mean: ``(V, 3)`` mean face; where it has the loose vertices, their normals are zero.
        normals: ``(V, 3)`` outward unit normals.
        ibug68: ``(68,)`` vertex numbers.
        loose: ``(3,)`` numbers that LOOSE's vertices have or will have.
        schemes: names.

    Returns:
        ``(L,)`` int32 a scheme. Within a scheme no vertex stands for two landmarks unless they are one place or the
        model has too few.
    """
    points = mean[ibug68].astype(np.float64)
    unit = float(np.linalg.norm(points[45] - points[36]))
    found = {}
    for name in schemes:
        places, at = places_of(name), positions(name, points)
        chosen = np.full(len(places), -1, dtype=np.int32)
        for i, place in enumerate(places):
            own = place.ibug if not (name in _NUMBERED and i < _OUTLINE) else None
            if own is not None:
                chosen[i] = ibug68[own]
        for point, i in loose_landmarks(name):
            chosen[i] = loose[point]
        for i in np.flatnonzero(chosen < 0).tolist():
            agreement = normals @ _unit(places[i].mean(normals[ibug68]))
            cost = ((mean - at[i]) ** 2).sum(1) / unit**2 + FACING**2 * (1 - agreement)
            cost[agreement < SKIN] += 1e3  # only where there is nothing else
            cost[chosen[(chosen >= 0) & (chosen < len(mean))]] += 1e6
            chosen[i] = cost.argmin()
        found[name] = chosen
    return found
