"""Hair, or a bald head's back, and the body: meshes around the head that a morphable model lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.rendering.atlas import CLOTH, HAIR
from pifa_data.rendering.bust import CENTRE, Addition, Bust

AROUND, DOWN = 56, 18
"""Vertices of the hair around the head and from the crown down."""

SKULL = np.array([80.0, 98.0, 92.0])
"""mm: half axes of the skull where a model has none."""

# Height where hair ends over the direction around the head, 0° the front, mm.
_ANGLES = np.array([0, 25, 45, 58, 68, 76, 84, 112, 124, 150, 180.0])
_SHORT = np.array([72, 70, 60, 40, 14, -12, 18, 16, -30, -55, -62.0])
_LONG = np.array([72, 70, 60, 40, 10, -60, -120, -128, -130, -132, -132.0])
_BALD = np.array([112, 108, 96, 84, 74, 66, 44, 24, -10, -45, -55.0])


@dataclass(frozen=True)
class HairStyle:
    """How hair lies.

    Attributes:
        kind: ``short``, ``long`` or ``bald`` (the skull alone).
        thickness: mm above the skull.
        fringe: mm by which hair falls lower over the forehead.
        side: −1 to 1, where the parting leaves the forehead free.
    """

    kind: str
    thickness: float
    fringe: float
    side: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> HairStyle:
        kind = str(rng.choice(["short", "long", "bald"], p=[0.5, 0.37, 0.13]))
        thick = {"short": (3, 22), "long": (8, 26), "bald": (1.5, 2.5)}[kind]
        fringe = rng.uniform(18, 42) if kind != "bald" and rng.random() < 0.25 else rng.normal(0, 7)
        return cls(kind, rng.uniform(*thick), float(fringe), float(rng.uniform(-1, 1)))


def make_hair(bust: Bust, style: HairStyle, rng: np.random.Generator) -> Addition:
    """The hair's mesh, or the skull's."""
    angle = np.linspace(-180, 180, AROUND + 1)
    away = np.abs(angle)
    end = np.interp(away, _ANGLES, {"short": _SHORT, "long": _LONG, "bald": _BALD}[style.kind])
    front = np.clip(1 - away / 60, 0, 1)
    end = end - style.fringe * np.minimum(2 * front, 1) * (1 + 0.5 * style.side * np.sin(np.radians(angle) * 1.5))
    if style.kind != "bald":
        ragged = np.interp(angle, np.linspace(-180, 180, 30), rng.normal(0, 3.0, 30))
        end = end + ragged + rng.normal(0, 0.8, len(angle))
    # Smooth around the head: the corners of the tables are no hairline's.
    turn_round = np.concatenate([end[-4:-1], end[:-1], end[:4]])
    end = np.convolve(turn_round, [0.1, 0.24, 0.32, 0.24, 0.1], "valid")[1 : 2 + AROUND]
    end[-1] = end[0]
    # From the crown along each direction: an ellipsoid down to the middle, below it the hair hangs.
    down = np.linspace(0, 1, DOWN + 1)[:, None]
    top = CENTRE[1] + SKULL[1]
    y = top + down**1.15 * (end - top)
    elevation = np.arcsin(np.clip((y - CENTRE[1]) / SKULL[1], -1, 1))
    if style.kind == "long":
        elevation = np.where(y < CENTRE[1], 0.0, elevation)
    turn = np.radians(np.broadcast_to(angle, y.shape))
    ring = np.stack(
        [np.sin(turn) * np.cos(elevation) * SKULL[0], y - CENTRE[1], np.cos(turn) * np.cos(elevation) * SKULL[2]],
        axis=-1,
    )
    ring = _around_skin(bust, ring)
    # Thin at its end, where it leaves the skin; long hair hangs free.
    taper = np.clip((1 - down) / 0.18, 0.08, 1) if style.kind != "long" else np.clip((1 - down) / 0.18, 0.3, 1)
    waves = np.interp(angle, np.linspace(-180, 180, 24), rng.normal(0, 0.16, 24))
    thickness = 1.5 + style.thickness * taper * (1 + waves)
    outward = ring / np.linalg.norm(ring, axis=-1, keepdims=True)
    places = (CENTRE + ring + outward * thickness[..., None]).reshape(-1, 3)
    uv = np.stack(
        [
            HAIR.x + 2 + (HAIR.width - 5) * (np.broadcast_to(angle, y.shape) + 180) / 360,
            HAIR.y + 2 + (HAIR.height - 5) * np.broadcast_to(down, y.shape),
        ],
        axis=-1,
    ).reshape(-1, 2)
    return bust.bind(places, _grid(DOWN + 1, AROUND + 1), uv)


def _around_skin(bust: Bust, ring: np.ndarray) -> np.ndarray:
    """``(R, C, 3)`` places about the skull's middle, pushed out to where the mean head's skin is."""
    flat = ring.reshape(-1, 3)
    length = np.linalg.norm(flat, axis=1)
    unit = flat / length[:, None]
    rows, columns = len(bust.skull), bust.skull.shape[1]
    row = np.arccos(np.clip(unit[:, 1], -1, 1)) / np.pi * (rows - 1)
    column = (np.arctan2(unit[:, 0], unit[:, 2]) / (2 * np.pi) + 0.5) * (columns - 1)
    reach = bust.skull[np.round(row).astype(int), np.round(column).astype(int)]
    return (flat * (np.maximum(length, reach) / length)[:, None]).reshape(ring.shape)


def make_body(bust: Bust, turn: float, build: float, collar: float) -> Addition:
    """Neck and shoulders.

    Args:
        turn: radians that the body is turned against the head.
        build: size over the usual.
        collar: mm by which clothes reach up the neck.
    """
    # Height, half width, half depth, and how far behind the ears each ring lies.
    rings = np.array(
        [
            (-112 + collar, 62, 62, -22),
            (-128 + collar, 70, 66, -24),
            (-146, 96, 76, -28),
            (-160, 150, 92, -32),
            (-178, 198, 104, -36),
            (-215, 226, 116, -38),
            (-300, 236, 124, -40),
            (-430, 230, 124, -40),
        ],
        dtype=np.float64,
    )
    angle = np.linspace(0, 2 * np.pi, 33)
    width = np.r_[1.0, 1.0, np.full(len(rings) - 2, build)]
    x = rings[:, 1, None] * width[:, None] * np.sin(angle)
    z = rings[:, 2, None] * width[:, None] * np.cos(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    places = np.stack(
        [cos * x + sin * z, np.broadcast_to(rings[:, :1], x.shape), cos * z - sin * x + rings[:, 3, None]], axis=-1
    ).reshape(-1, 3)
    uv = np.stack(
        np.broadcast_arrays(
            CLOTH.x + 2 + (CLOTH.width - 5) * (angle / (2 * np.pi)),
            CLOTH.y + 2 + (CLOTH.height - 5) * np.linspace(0, 1, len(rings))[:, None],
        ),
        -1,
    )
    return bust.bind(places, _grid(len(rings), len(angle)), uv.reshape(-1, 2))


def _grid(rows: int, columns: int) -> np.ndarray:
    """``(T, 3)`` triangles of a grid numbered row by row from above, seen from outside counter-clockwise."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a, b, c, d = (((i + k) * columns + j + n).ravel() for k, n in ((0, 0), (1, 0), (1, 1), (0, 1)))
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
