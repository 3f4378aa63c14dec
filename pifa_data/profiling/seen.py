"""Which landmarks a picture of a head shows, by its depth buffer."""

from __future__ import annotations

import cv2
import numpy as np

HIDDEN = 0.05
"""Share of √(w·h) by which skin must lie before a landmark to hide it. Where lips meet, landmarks lie in a fold: of
near-frontal ytf68 faces 99.9 % by less than 0.047. Of faces turned to 60° and 90° a quarter of the inner landmarks lie
farther back than 0.06, and only 0.8 % between 0.02 and that (`benchmarks/profiling.py`)."""

RIM = 3
"""Pixels. A marched landmark lies on the outline, and is visible there, if the outline is within so many; its vertex
may be a little beyond the edge."""


def visible_landmarks(
    points: np.ndarray, behind: np.ndarray, marched: np.ndarray, depth: np.ndarray, tolerance: float
) -> np.ndarray:
    """``(L,)`` uint8: 1 where something drawn lies before the landmark, else 2.

    Hidden is what is covered by nearer skin together with the pixels around it: the outline's landmarks are seen.

    Args:
        points: ``(L, 2)`` pixels.
        behind: ``(L,)`` depth of each landmark, larger is farther.
        marched: ``(L,)`` bool, landmarks that have marched to the outline.
        depth: ``(H, W)`` of what is drawn, infinite where nothing is.
        tolerance: how much nearer than a landmark skin must be to hide it, in units of depth.
    """
    height, width = depth.shape
    column, row = np.clip(np.round(points), 0, (width - 1, height - 1)).astype(np.int64).T
    near = np.where(marched, farthest(depth, RIM)[row, column], farthest(depth, 1)[row, column])
    return np.where(behind > near + tolerance, 1, 2).astype(np.uint8)


def farthest(depth: np.ndarray, reach: int) -> np.ndarray:
    """The largest depth within ``reach`` pixels; without end where the head does not cover all of them."""
    return cv2.dilate(np.minimum(depth, np.float32(1e9)), np.ones((2 * reach + 1, 2 * reach + 1)))
