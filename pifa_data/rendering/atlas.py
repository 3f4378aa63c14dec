"""Where things lie in a person's texture: the skin unrolled from a cylinder, and patches below it.

A texture is ``(HEIGHT, WIDTH, 3)``; places on the head are in millimetres of the head's frame (see ``bust.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH, SKIN = 600, 288
"""Pixels: once around the head, and from the top of the head to below the neck."""

TOP = 135.0
"""mm: height of the first row of the skin; a row is a millimetre."""


class Patch(NamedTuple):
    """A rectangle of the texture and how many of its pixels a millimetre is (1 where it isn't measured so)."""

    x: int
    y: int
    width: int
    height: int
    scale: float = 1.0

    @property
    def area(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


EYE = Patch(2, SKIN + 4, 100, 72, 2.0)
MOUTH = Patch(106, SKIN + 4, 64, 40, 1.0)
HAIR = Patch(174, SKIN + 4, 300, 92)
CLOTH = Patch(478, SKIN + 4, 118, 92)
HEIGHT = SKIN + 100


def on_skin(places: np.ndarray) -> np.ndarray:
    """``(N, 2)`` float32 texture pixels of ``(N, 3)`` places on the head."""
    x = (np.arctan2(places[:, 0], places[:, 2]) / np.pi + 1) * (WIDTH / 2)
    return np.column_stack([np.clip(x, 0, WIDTH - 1), np.clip(TOP - places[:, 1], 0, SKIN - 1)]).astype(np.float32)


def on_patch(patch: Patch, places: np.ndarray) -> np.ndarray:
    """``(N, 2)`` float32 texture pixels of ``(N, 2)`` places, x right and y up, from the middle of a patch."""
    middle = np.array([patch.x + patch.width / 2, patch.y + patch.height / 2])
    at = middle + places * (patch.scale, -patch.scale)
    corner = np.array([patch.x + 1, patch.y + 1]), np.array([patch.x + patch.width - 2, patch.y + patch.height - 2])
    return np.clip(at, *corner).astype(np.float32)
