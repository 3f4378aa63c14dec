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

# How a face detector's box lies about the tight landmark box: OpenCV's frontal Haar cascade (alt2) on the 3,302 faces
# of ytf68, of which it finds 99 %, by `python benchmarks/detector.py keypoints-csv:ytf68 --morphable builtin`.
# Lengths are shares of the tight box's √(w·h).
DETECTOR_TURN = 0.46
"""The centre goes this far, times the sine of the yaw, the way that the nose points. Of its horizontal deviation of
0.118 that leaves 0.028: a detector looks at eyes and nose, the tight box reaches to the jaw."""
DETECTOR_WIDEST = 33.0
"""Degrees of yaw beyond which it goes no farther: 0.23 on faces turned by 30° to 45°, 0.25 on the few turned more."""
DETECTOR_RISE = 0.196
"""The centre lies this much higher: the box reaches from the forehead to the lips or the chin, not from the brows."""
DETECTOR_SIZE = 1.15
"""√(w·h) of the detector's box over that of the tight box."""
DETECTOR_SHIFT, DETECTOR_SCALE = 0.03, 0.10
"""What is left at random, as for ``jitter_box``: the centre deviates by 0.028 in x and 0.036 in y, ln √(w·h) by 0.074,
which is 0.10 of width and height each. No two are correlated by more than 0.1, and less than 1 % of the faces is
farther out than three deviations."""
DETECTOR_GROW = 1.6
"""Side of the crop over a detector box's √(w·h). Crops as large as of tight boxes would be 1.4/1.15 = 1.22, but a
detector's box lies higher and to one side: half of them cut the chin off. 1.6 keeps every point of 99 % inside."""


@dataclass(frozen=True)
class BoxKind:
    """What the boxes of a kind are grown by, and the deviations of their jitter (see ``jitter_box``)."""

    grow: float
    shift: float
    scale: float


BOXES = {
    "tight": BoxKind(GROW, JITTER_SHIFT, JITTER_SCALE),
    "dataset": BoxKind(GROW, JITTER_SHIFT, JITTER_SCALE),
    "detector": BoxKind(DETECTOR_GROW, DETECTOR_SHIFT, DETECTOR_SCALE),
}
"""Kinds of boxes: around the labelled points, the data set's own, and as a face detector's."""


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


def shared_area(a: np.ndarray, b: np.ndarray) -> float:
    """Area that two ``(4,)`` boxes share, square pixels."""
    return float((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two ``(4,)`` boxes, 0 to 1."""
    shared = shared_area(a, b)
    areas = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod())
    return shared / max(areas - shared, 1e-12)


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


def detector_box(box: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Where a face detector's box lies on average.

    Args:
        box: ``(..., 4)`` tight boxes.
        yaw: ``(...)`` radians, > 0 where the nose points to the image's left.

    Returns:
        ``(..., 4)`` float64, image pixels: squares, as the detector's are; ``jitter_box`` with ``DETECTOR_SHIFT`` and
        ``DETECTOR_SCALE`` gives them the detector's noise.
    """
    box, yaw = np.asarray(box, np.float64), np.asarray(yaw, np.float64)
    widest = np.radians(DETECTOR_WIDEST)
    away = np.stack([-DETECTOR_TURN * np.sin(yaw.clip(-widest, widest)), np.full(yaw.shape, -DETECTOR_RISE)], axis=-1)
    size = box_size(box)[..., None]
    centre = (box[..., :2] + box[..., 2:]) / 2 + away * size
    half = size * (DETECTOR_SIZE / 2)
    return np.concatenate([centre - half, centre + half], axis=-1)


def face_rng(seed: int, face_id: str, copy: int) -> np.random.Generator:
    """The random numbers of one copy of one face: a function of (seed, face, copy) and nothing else."""
    digest = hashlib.sha256(face_id.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.default_rng([seed, copy, *words])
