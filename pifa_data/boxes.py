"""Face boxes, their jitter, and the square crop that a box means.

A box is ``(x0, y0, x1, y1)`` in image pixels. The crop of a box is the square of side √(w·h)·grow around the box's
centre, resampled to S×S pixels; a square keeps the camera a scaled rotation. With pixel centres at whole numbers the
square's edge lies half a pixel before the first centre, so for a square of side L around c

    u = k (x − c) + (S − 1)/2,   k = S / L                                     (crop pixel u of image pixel x).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pifa_data.errors import PifaError

GROW = 1.4
"""Side of the crop over √(w·h) of the tight landmark box. The 68 points span brows to chin; 1.4 keeps every point of
99.8 % of jittered crops of real faces (ytf68) inside while the face still fills 70 % of the crop."""

JITTER_SHIFT = 0.05
"""Standard deviation of a jittered box's centre, as a share of √(w·h), in x and in y."""

JITTER_SCALE = 0.05
"""Standard deviation of the factors on a jittered box's width and height."""


@dataclass(frozen=True)
class Square:
    """A square region of the image and the size it is resampled to.

    Attributes:
        x, y: centre, image pixels.
        side: side length, image pixels.
        size: side length of the crop, crop pixels.
    """

    x: float
    y: float
    side: float
    size: int

    @property
    def matrix(self) -> np.ndarray:
        """``(2, 3)`` float64, maps image pixels (x, y, 1) to crop pixels."""
        k = self.size / self.side
        middle = (self.size - 1) / 2
        return np.array([[k, 0.0, middle - k * self.x], [0.0, k, middle - k * self.y]])

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """``(..., 2)`` image pixels to crop pixels."""
        return (points - (self.x, self.y)) * (self.size / self.side) + (self.size - 1) / 2

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """``(..., 2)`` crop pixels to image pixels."""
        return (points - (self.size - 1) / 2) * (self.side / self.size) + (self.x, self.y)


def tight_box(landmarks: np.ndarray, visibility: np.ndarray) -> np.ndarray:
    """The box around the labelled points: ``(4,)`` float64 image pixels from ``(L, 2)`` landmarks."""
    points = landmarks[visibility > 0]
    return np.concatenate([points.min(0), points.max(0)])


def box_size(box: np.ndarray) -> np.ndarray:
    """√(w·h) of ``(..., 4)`` boxes, pixels: the normaliser ``tight`` or ``box``, by whichever box it is."""
    box = np.asarray(box)
    return np.sqrt((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]))


def check_box(box: np.ndarray, name: str) -> np.ndarray:
    """Give the box back as ``(4,)`` float64.

    Raises:
        PifaError: it is not four finite numbers with x0 < x1 and y0 < y1.
    """
    box = np.asarray(box, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise PifaError(f"{name}: expected a box of four finite numbers x0, y0, x1, y1")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise PifaError(f"{name}: the box has no area; expected x0 < x1 and y0 < y1 in pixels")
    return box


def square_of(box: np.ndarray, grow: float, size: int) -> Square:
    """The crop that ``box`` means."""
    return Square(
        x=float(box[0] + box[2]) / 2,
        y=float(box[1] + box[3]) / 2,
        side=float(box_size(box)) * grow,
        size=size,
    )


def jitter_box(
    box: np.ndarray, rng: np.random.Generator, shift: float = JITTER_SHIFT, scale: float = JITTER_SCALE
) -> np.ndarray:
    """Move and stretch a box at random (the paper's noise on location, width and height).

    The centre moves by N(0, shift·√(w·h)) in x and in y, width and height are each multiplied by N(1, scale),
    drawn in that order; factors are kept above 0.2 so that no draw can turn the box inside out.

    Returns:
        ``(4,)`` float64, image pixels.
    """
    draws = rng.standard_normal(4)
    size = box_size(box)
    centre = (box[:2] + box[2:]) / 2 + draws[:2] * shift * size
    half = (box[2:] - box[:2]) / 2 * np.maximum(1 + draws[2:] * scale, 0.2)
    return np.concatenate([centre - half, centre + half])


def face_rng(seed: int, face_id: str, copy: int) -> np.random.Generator:
    """The random numbers of one copy of one face: a function of (seed, face, copy) and nothing else."""
    digest = hashlib.sha256(face_id.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.default_rng([seed, copy, *words])
