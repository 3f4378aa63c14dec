"""How good a score is as a probability, and how well it tells success from failure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10
"""Bins of a reliability curve, of equal width."""


@dataclass(frozen=True)
class Reliability:
    """A score against what came of it.

    Attributes:
        brier: mean squared difference of score and success (Brier 1950); 0.25 of a score that always says a half.
        ece: expected calibration error: mean over the crops of |mean score − share of successes| of their bin.
        auc: probability that a success has a larger score than a failure (ties count a half); None without both.
        bins: for each bin of the score with crops in it, mean score, share of successes, crops.
    """

    brier: float
    ece: float
    auc: float | None
    bins: list[tuple[float, float, int]]


def reliability(scores: np.ndarray, success: np.ndarray) -> Reliability:
    """Measure ``(N,)`` scores, 0 to 1, against ``(N,)`` bool.

    Raises:
        ValueError: no scores, arrays of different shapes, or scores outside 0 to 1.
    """
    if scores.shape != success.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(f"expected as many scores as successes, found {scores.shape} and {success.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("expected scores from 0 to 1")
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = [
        (float(scores[at].mean()), float(success[at].mean()), int(at.sum()))
        for at in (place == i for i in range(BINS))
        if at.any()
    ]
    return Reliability(
        brier=float(((scores - success) ** 2).mean()),
        ece=sum(count * abs(mean - share) for mean, share, count in bins) / len(scores),
        auc=_auc(scores, success),
        bins=bins,
    )


def _auc(scores: np.ndarray, success: np.ndarray) -> float | None:
    """Mann and Whitney's U over the number of pairs, from the ranks."""
    positive = int(success.sum())
    negative = len(success) - positive
    if not positive or not negative:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[success].sum() - positive * (positive + 1) / 2) / (positive * negative))
