"""The 29 expressions of the ``builtin`` model, each at the full size that comes naturally to a face.

Their names follow the muscles' actions (Ekman and Friesen, Facial Action Coding System, 1978). Every expression is
its own mirror image, or its own mirror image turned back (those that end in ``sideways``, and ``wink``): so the mirror
image of any face of the model is again in the model, and one coefficient is one movement of the whole face, which for
a prior of independent coefficients is nearer to life than halves that move on their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pifa_data.morphable.making.handles import Lips, Plate
from pifa_data.morphable.making.surface import Surface

Move = tuple[float, float, float]
CONDYLE = (0.0, 4.0, 10.0)
"""mm: the jaw turns about the line through the condyles, just in front of the tragia."""
JAW_OPEN = np.radians(19.0)
"""Lowers the chin's point by about 18 mm and the lower lip by 28: a wide, unforced opening."""

_STILL: Move = (0.0, 0.0, 0.0)
# fmt: off
PLACES: dict[str, Move] = {
    "glabella": (0, 38, 97.2), "forehead": (25, 62, 92), "forehead_middle": (0, 60, 95.5), "orbit": (32, 36.5, 88),
    "nose_side": (9, 4, 95), "nose_root": (7, 18, 88), "tip": (0, -18.5, 114.6), "wing": (17.6, -22.4, 95.8),
        "wing_top": (13.2, -11.4, 95.6),
    "below_eye": (32, 9.9, 82.6), "crow": (53, 16, 69), "zygoma": (57, -4, 67), "cheek": (40, -9, 84.5),
    "fold_high": (24, -22, 90.5), "fold_low": (31, -37, 87), "buccal": (46, -42, 71), "cheek_low": (38, -30, 82),
    "corner_below": (28, -60, 84.5), "sulcus": (0, -66.5, 91.8), "chin": (0, -81, 93.3),
        "chin_side": (15, -80, 89.5), "menton": (0, -95.4, 77),
}
# fmt: on
"""Anatomical places (x, y, z) on the unwarped head, mm."""


@dataclass(frozen=True)
class Expression:
    """How an expression is made, on the right half (x ≥ 0); the left half mirrors it.

    Attributes:
        points: movement (dx, dy, dz), mm, of places and of landmarks by number.
        lips: movement of the lips; None leaves them to follow.
        lids: how far the upper and the lower lid go to each other.
        sign: +1 symmetric, −1 antisymmetric.
        jaw: "open", or the jaw's shift (dx, dy, dz), mm.
    """

    points: dict[str | int, Move] = field(default_factory=dict)
    lips: Lips | None = None
    lids: tuple[float, float] | None = None
    sign: int = 1
    jaw: str | Move | None = None


def _lips(upper: tuple[Move, Move, Move], lower: tuple[Move, Move, Move], corner: Move, **rolls: Move) -> Lips:
    return Lips(upper, lower, corner, rolls)


# fmt: off
_SMILE_LIPS = _lips(
    ((0, 0.6, -2), (2.2, 1.4, -2.4), (4.6, 4, -3.6)),
    ((0, 0.8, -2.2), (2.2, 1.4, -2.4), (4.6, 3.8, -3.6)),
    (6.5, 6.5, -4.6),
)
_SMILE = Expression(
    {"cheek": (1, 4.5, 2.2), "fold_high": (2, 2.5, 0.6), "fold_low": (5, 4.5, 0.5), "buccal": (3, 2.5, 0.5),
        "below_eye": (0, 1.2, 0.5),
     "wing": (0.9, 0.4, -0.3), "chin": (0, 0.2, -0.5)},
    _SMILE_LIPS,
)
_RAISE = Expression(
    {"fold_high": (0.8, 3.2, 0.8), "fold_low": (0.8, 2, 0.4), "wing": (0.5, 1.5, 0), "cheek": (0, 1.5, 0.6)},
    _lips(((0, 4, 0.5), (0, 5, 0.2), (0.4, 3.6, -0.2)), (_STILL, (0, 0.2, 0), (0, 0.6, 0)), (0.4, 1.4, -0.3)),
)

EXPRESSIONS: dict[str, Expression] = {
    "jaw_open": Expression(jaw="open"),
    "jaw_forward": Expression(jaw=(0, -1.0, 5.0)),
    "jaw_sideways": Expression(jaw=(6.0, 0, 0), sign=-1),
    "smile": _SMILE,
    "smile_sideways": Expression(
        {key: move for key, move in _SMILE.points.items() if key != "chin"},
        Lips(((3.2, 0, 0), *_SMILE_LIPS.upper[1:]), ((3.2, 0, 0), *_SMILE_LIPS.lower[1:]), _SMILE_LIPS.corner, {}),
            sign=-1,
    ),
    "mouth_stretch": Expression(
        {"fold_low": (2.5, -1, -1.5), "corner_below": (3, -2.5, -1), "buccal": (2.5, -1.5, 0)},
        _lips(((0, -0.4, -1.6), (2.4, -0.6, -2), (4.8, -1.2, -3.2)), ((0, -0.8, -1.6), (2.4, -1.2, -2),
            (4.8, -2, -3.2)), (7, -2.4, -4.4)),
    ),
    "frown": Expression(
        {"corner_below": (0.5, -3, 0.8), "chin": (0, 1.2, 0.6), "chin_side": (0, 1, 0.8),
            "fold_low": (0.4, -2.5, -0.4)},
        _lips(((0, -0.2, 0), (0, -0.8, -0.2), (0.4, -3, -0.6)), ((0, 0.5, 0.4), (0, -0.6, 0), (0.4, -3, -0.6)),
            (0.8, -6, -1)),
    ),
    "mouth_sideways": Expression(
        {"fold_low": (4, 0, 0), "corner_below": (4, 0, 0), "sulcus": (4.5, 0, 0), "chin": (1.5, 0, 0),
            "tip": (0.6, 0, 0)},
        _lips(((6.5, 0, 0), (6.2, 0, -0.8), (5.6, 0, -1.6)), ((6.5, 0, 0), (6.2, 0, -0.8), (5.6, 0, -1.6)),
            (5.0, 0.2, -2)),
        sign=-1,
    ),
    "pucker": Expression(
        {"fold_low": (-4, 0, 1), "corner_below": (-4, 0, 1), "buccal": (-2.5, 0, -1), "sulcus": (0, 0.6, 1)},
        _lips(((0, 0.4, 5), (-3.4, 0, 4.8), (-6.6, -0.2, 4)), ((0, -0.4, 4.6), (-3.4, 0, 4.4), (-6.6, 0.2, 3.8)),
            (-9, 0, 3)),
    ),
    "funnel": Expression(
        {"fold_low": (-3, 0, 1), "corner_below": (-3, -1, 1), "buccal": (-2, 0, -1), "sulcus": (0, -1.5, 1.5)},
        _lips(((0, 3.2, 4.6), (-1.8, 2.6, 4.4), (-4.6, 1, 4)), ((0, -4.2, 4.4), (-1.8, -3.6, 4.2),
            (-4.6, -1.4, 3.8)), (-7, -0.2, 3.4)),
    ),
    "lips_press": Expression(
        {"chin": (0, 1, 0.3), "fold_low": (0.6, 0, 0.4)},
        _lips(((0, -0.6, -0.8), (0.3, -0.6, -0.8), (0.6, -0.3, -0.8)), ((0, 0.8, -0.8), (0.3, 0.8, -0.8),
            (0.6, 0.4, -0.8)), (0.8, 0, -1),
              upper_full=(0, -1, -1.6), lower_full=(0, 1, -1.6), upper_seam=(0, 0.6, 0), lower_seam=(0, -0.8, 0)),
    ),
    "lip_roll_upper": Expression(
        {},
        _lips(((0, -1, -0.8), (0, -1, -0.8), (0, -0.6, -0.5)), (_STILL, _STILL, _STILL), _STILL,
              upper_lip=(0, -1.6, -0.6), upper_full=(0, -0.4, -3.4), upper_seam=(0, 1.4, -3.8),
                  upper_mouth=(0, 2, -2)),
    ),
    "lip_roll_lower": Expression(
        {"sulcus": (0, 1, -0.4)},
        _lips((_STILL, _STILL, _STILL), ((0, 1, -0.8), (0, 1, -0.8), (0, 0.6, -0.5)), _STILL,
              lower_lip=(0, 2.2, -0.6), lower_full=(0, 0.4, -3.4), lower_seam=(0, -1.4, -3.8),
                  lower_mouth=(0, -2, -2)),
    ),
    "upper_lip_raise": _RAISE,
    "upper_lip_sideways": Expression(_RAISE.points, _RAISE.lips, sign=-1),
    "lower_lip_depress": Expression(
        {"sulcus": (0, -2.5, -0.4), "corner_below": (1, -1.8, 0)},
        _lips((_STILL, _STILL, (0, -0.4, 0)), ((0, -4.8, -0.4), (0.8, -5.2, -0.4), (1, -3.4, -0.3)), (0.5, -1, 0)),
    ),
    "dimple": Expression(
        {"fold_low": (2.5, 0.2, 0.4), "buccal": (1, 0, 1)},
        _lips(((0, 0, -0.8), (1.2, 0, -1), (2.8, 0.2, -2.6)), ((0, 0, -0.8), (1.2, 0, -1), (2.8, 0.2, -2.6)),
            (4.4, 0.4, -4.4)),
    ),
    "cheek_puff": Expression(
        {"buccal": (6.5, 0, 5), "cheek_low": (3.5, 0, 5), "fold_low": (1, 0, 3), "corner_below": (1, 0, 3.5)},
        _lips(((0, 0.2, 1.6), (0, 0.1, 1.4), (-0.4, 0, 1.2)), ((0, -0.2, 1.6), (0, -0.1, 1.4), (-0.4, 0, 1.2)),
            (-0.8, 0, 1)),
    ),
    "cheek_raise": Expression({"cheek": (0, 5, 2.4), "below_eye": (0, 2.6, 1.2), "crow": (-1.2, 1.2, 0.6),
        "fold_high": (0.5, 2, 0.5)}, lids=(0.1, 0.22)),
    "blink": Expression(lids=(1.0, 0.0)),
    "wink": Expression(lids=(0.5, 0.0), sign=-1),
    "eyes_wide": Expression(lids=(-0.22, -0.06)),
    "brow_inner_up": Expression({22: (0, 7, 0), 23: (0, 5, 0), 24: (0, 2.2, 0), 25: (0, 0.2, 0),
        26: _STILL, "glabella": (0, 4.2, 0), "forehead_middle": (0, 3, 0)}),
    "brow_outer_up": Expression({22: (0, 0.5, 0), 23: (0, 3, 0), 24: (0, 5.5, 0), 25: (0.3, 7, -0.3),
        26: (0.4, 6, -0.6), "forehead": (0, 2.6, 0)}),
    "brow_down": Expression({22: (-2.4, -5, 0.8), 23: (-1.8, -4.6, 0.9), 24: (-1, -3.8, 0.8), 25: (-0.4, -2.6, 0.5),
        26: (0, -1.2, 0), "glabella": (0, -3.2, 0.9),
                             "forehead_middle": (0, -1, 0)}),
    "brow_sideways": Expression({22: (0, 3.5, 0), 23: (0, 4.5, 0), 24: (0, 5, 0), 25: (0.2, 5, -0.2),
        26: (0.3, 3.6, -0.4), "forehead": (0, 2, 0)}, sign=-1),
    "nose_sneer": Expression(
        {"wing": (0.8, 3, 0), "wing_top": (0.4, 3.8, 0.6), "nose_side": (0, 3, 0.6), "nose_root": (0, 1.2, 0.4),
            "fold_high": (0.5, 3.4, 0.8), "tip": (0, 0.8, 0),
         22: (-1.2, -2, 0.3), "glabella": (0, -1.6, 0.4), "cheek": (0, 1.6, 0.4)},
        _lips(((0, 1.6, 0.2), (0, 2.6, 0.2), (0, 1.8, 0)), (_STILL, _STILL, (0, 0.2, 0)), (0, 0.6, 0)),
    ),
    "nostril_flare": Expression({"wing": (2.8, 0.4, -0.3), 35: (1.8, 0, -0.2), "wing_top": (0.8, 0.2, 0.2),
        "tip": _STILL, 33: _STILL, 51: _STILL}),
    "chin_raise": Expression(
        {"chin": (0, 4.4, 1.4), "chin_side": (0, 3.6, 1), "sulcus": (0, 3.4, 1.6), "menton": (0, 1.4, 0.4)},
        _lips(((0, 2.2, 1.4), (0, 1.8, 1.2), (0, 0.5, 0.6)), ((0, 2.6, 2), (0, 2.0, 1.6), (0, 0.4, 0.8)), (0, -1, 0)),
    ),
}
# fmt: on


def expression_modes(surface: Surface) -> tuple[tuple[str, ...], np.ndarray]:
    """Every expression sculpted on a surface.

    Returns:
        29 names, and ``(29, V, 3)`` float64 movements of the vertices, mm.
    """
    plate = Plate(surface)
    jaw = plate.jaw_weights()
    offsets = [_sculpt(expression, plate, jaw) for expression in EXPRESSIONS.values()]
    return tuple(EXPRESSIONS), np.array(offsets)


def expression_mirror() -> tuple[np.ndarray, np.ndarray]:
    """What becomes of the expressions' coefficients when a face is mirrored.

    Returns:
        permutation ``(29,)`` int32 and signs ``(29,)`` float64: mirrored[k] = signs[k] · coefficients[permutation[k]].
    """
    signs = np.array([expression.sign for expression in EXPRESSIONS.values()], dtype=np.float64)
    return np.arange(len(EXPRESSIONS), dtype=np.int32), signs


def _sculpt(expression: Expression, plate: Plate, jaw: np.ndarray) -> np.ndarray:
    if expression.jaw is not None:
        return _jaw(expression.jaw, plate.surface.vertices, jaw)
    handles: dict[int, np.ndarray] = {}
    marks = plate.surface.landmarks
    for key, movement in expression.points.items():
        vertex = int(marks[key]) if isinstance(key, int) else plate.at(PLACES[key])
        handles[vertex] = np.array(movement, dtype=float)
    if expression.lips:
        handles |= plate.lips(expression.lips, expression.sign)
    # The lids hold still unless the expression moves them, so that the skin around never drags them off the eyeball.
    handles |= plate.lids(*(expression.lids or (0.0, 0.0)))
    return plate.move(handles, expression.sign)


def _jaw(movement: str | Move, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if movement == "open":
        # Turning the weighted angle instead of weighting the movement keeps the cheeks on their arcs.
        angle = JAW_OPEN * weights
        dy, dz = vertices[:, 1] - CONDYLE[1], vertices[:, 2] - CONDYLE[2]
        turned = np.stack([np.cos(angle) * dy - np.sin(angle) * dz, np.sin(angle) * dy + np.cos(angle) * dz], axis=1)
        return np.column_stack([np.zeros(len(vertices)), turned - np.stack([dy, dz], axis=1)])
    return weights[:, None] * np.array(movement)
