"""Small pictures of faces, for pages and contact sheets: where to look, and the pixels there."""

from __future__ import annotations

import numpy as np

from pifa_data.boxes import Square
from pifa_data.errors import ImageError
from pifa_data.faces import Face
from pifa_data.images import CropSource, read_image

SLATE = (52, 58, 68)
"""Ground of drawings without a photo; reads well on a light and on a dark page."""


def square_around(labels: np.ndarray, others: np.ndarray, size: int) -> Square:
    """A square around ``(N, 2)`` labels and, unless they lie far away, ``(M, 2)`` other points; image pixels."""
    low, high = labels.min(0), labels.max(0)
    reach = max(float((high - low).max()), 1e-3)
    low = np.clip(others.min(0), low - reach, low)
    high = np.clip(others.max(0), high, high + reach)
    x, y = (low + high) / 2
    return Square(x=float(x), y=float(y), side=max(float((high - low).max()), 1e-3) * 1.3, size=size)


def cut_out(face: Face, square: Square) -> tuple[np.ndarray, bool]:
    """The face's image in a square, ``(S, S, 3)`` uint8 RGB, or a plain ground and False where it can't be read."""
    try:
        return CropSource(read_image(face.image), square).crop(square), True
    except ImageError:
        return np.full((square.size, square.size, 3), SLATE, np.uint8), False
