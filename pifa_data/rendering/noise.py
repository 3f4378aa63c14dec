"""Smooth noise, which skin, hair, clothes and backgrounds are varied by."""

from __future__ import annotations

import cv2
import numpy as np


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], channels: int = 1) -> np.ndarray:
    """``(H, W, channels)`` float32 smooth noise of unit variance at its knots, ``cells`` of them down and across."""
    knots = rng.standard_normal((*cells, channels)).astype(np.float32)
    return cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_CUBIC).reshape(*shape, channels)
