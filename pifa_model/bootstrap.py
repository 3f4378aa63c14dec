"""Intervals of mean errors by the bootstrap over people.

Faces of one person (above all frames of one video) err alike, so that resampling faces would make intervals far too
short. Whole people are drawn, with replacement, and the mean is taken over all faces of those drawn (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, percentile intervals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_AT_ONCE = 500
"""Draws held in memory together."""


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def bootstrap_mean(
    values: np.ndarray, groups: np.ndarray, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over faces with its interval over people.

    Args:
        values: ``(N,)`` a number a face; NaN takes no part. For two methods measured on the same faces, give the
            differences: that is the paired bootstrap.
        groups: ``(N,)`` whose face it is.
        level: share of draws between the ends.
        draws: how often people are drawn, rounded up to 500s.
        seed: the draws' seed.

    Raises:
        ValueError: arrays of different lengths, or no number among the values.
    """
    if values.shape != groups.shape or values.ndim != 1:
        raise ValueError(f"values and groups: expected (N,) each, found {values.shape} and {groups.shape}")
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("values: expected at least one finite number")
    people, index = np.unique(groups[known], return_inverse=True)
    sums, counts = np.bincount(index, values[known]), np.bincount(index)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(-(-draws // _AT_ONCE)):
        # How often each person is drawn.
        times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=_AT_ONCE)
        means.append((times @ sums) / (times @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
