"""What training takes from the fits of its rows, whose number may be beyond memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ParameterStatistics:
    """Of P over N rows, crop pixels.

    Attributes:
        mean, std: ``(8 + K,)`` float64.
        rotation, translation: mean absolute value of M's scaled rotation and of its translation.
        scale: mean of M's scale, pixels a model unit.
    """

    mean: np.ndarray
    std: np.ndarray
    rotation: float
    translation: float
    scale: float


def measure_params(blocks: Callable[[], Iterable[np.ndarray]]) -> ParameterStatistics:
    """Measure P, given in blocks ``(n, 8 + K)``; called twice, as the deviations need the mean."""
    count, total, rotation, translation, scale = 0, np.zeros(1), 0.0, 0.0, 0.0
    for block in blocks():
        turned, moved = block[:, [0, 1, 2, 4, 5, 6]].astype(np.float64), block[:, [3, 7]].astype(np.float64)
        count, total = count + len(block), total + block.sum(0, dtype=np.float64)
        rotation += np.abs(turned).mean(1).sum()
        translation += np.abs(moved).mean(1).sum()
        scale += np.sqrt((turned**2).sum(1) / 2).sum()
    mean = total / count
    squares = sum(((block - mean) ** 2).sum(0) for block in blocks())
    return ParameterStatistics(mean, np.sqrt(squares / count), rotation / count, translation / count, scale / count)
