"""What the visualization layer draws of a morphable model: which vertices, and the mask a that weighs them.

    a(q) = exp(−‖n − q‖² / 2σₙ²)      (11; n the nose tip), normalised to zero mean and unit deviation

so that the middle of the face is positive and its contour negative (mask 1, figure 4). Mask 2 (figure 8) is the sum
of five such terms, at both eyes, the nose tip and both corners of the mouth.
"""

from __future__ import annotations

import numpy as np

from pifa_data.morphable import MorphableModel
from pifa_data.morphable.points import landmark_vertices
from pifa_data.morphable.simplify import NEVER_SEEN, farthest_points, seen
from pifa_model.config import VisualizationConfig

PARTS = (range(36, 42), range(42, 48), range(30, 31), range(48, 49), range(54, 55))
"""Places of mask 2 as landmarks of ibug68, each their mean: eyes, nose tip, corners of the mouth."""

PARTS_SIGMA = 0.06
"""σₙ of mask 2 as a share of the mean face's width: the five areas stay apart, as in figure 8."""


def vertex_mask(model: MorphableModel, config: VisualizationConfig) -> np.ndarray:
    """The mask of a configuration: ``(V,)`` float32.

    Raises:
        MorphableError: mask ``parts`` of a model without landmarks of ibug68.
    """
    if config.mask == "none":
        return np.ones(len(model.mean), np.float32)
    if config.mask == "parts":
        places = landmark_vertices(model, "ibug68")
        centres = np.stack([model.mean[places[list(part)]].mean(0) for part in PARTS])
        return _gaussians(model, centres, PARTS_SIGMA)
    return _gaussians(model, model.mean[[model.nose_tip]], config.mask_sigma)


def _gaussians(model: MorphableModel, centres: np.ndarray, sigma: float) -> np.ndarray:
    mean = model.mean.astype(np.float64)
    landmarks = mean[np.concatenate([*model.stored_landmarks.values()])]
    width = np.ptp(landmarks[:, 0])
    squared = ((mean[:, None] - centres) ** 2).sum(2)
    a = np.exp(-squared / (2 * (sigma * width) ** 2)).sum(1)
    return ((a - a.mean()) / a.std()).astype(np.float32)


def drawn_vertices(model: MorphableModel, count: int) -> np.ndarray:
    """``count`` vertices, ascending: even where the face is seen from most sides, sparser where it seldom is."""
    if count >= len(model.mean):
        return np.arange(len(model.mean))
    return spread_vertices(
        model.mean, count, np.maximum(seen(model.mean.astype(np.float64), model.normals), NEVER_SEEN)
    )


def spread_vertices(mean: np.ndarray, count: int, weight: np.ndarray | None = None) -> np.ndarray:
    """``count`` well-spread vertices by farthest-point sampling, ascending; all of them if there are fewer.

    Args:
        mean: ``(V, 3)``.
        count: vertices wanted.
        weight: ``(V,)`` factor of a vertex's distance to the chosen ones; 1 by default.
    """
    if count >= len(mean):
        return np.arange(len(mean))
    weight = np.ones(len(mean)) if weight is None else weight
    return farthest_points(mean.astype(np.float64), count, np.zeros(1, np.int64), weight)
