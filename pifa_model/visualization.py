"""The visualization layer (section 3.3, equations 8-11): the current face drawn as a map of its frontability.

    g = max(0, −r₃·N₀)                            (8; r₃ points into the scene here, see docs/method.md)
    V(u, v) = Σ_{q∈D(u,v)} g(q) a(q) w / Σ w      (9)
    w = exp(−((u − x_q)² + (v − y_q)²) / 2σ²)     (10)
    a(q) = exp(−‖n − q‖² / 2σₙ²), normalised      (11)

A vertex takes part if it faces the viewer (g > 0) and is the nearest of those that project into its pixel. So a pixel
holds at most one vertex, and the sums of equation 9 are short: each vertex is spread over the (2R+1)² pixels around
its own. The weight splits into a factor a column and a factor a row, w = w_x(u)·w_y(v). Gradients reach M and p
through x, y and g; which vertices take part is a constant of the step.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel
from pifa_model.config import VisualizationConfig
from pifa_model.shape import ShapeBasis, exact_coordinates, project, split_params, viewing_direction

_DEPTH_STEPS = 2.0**20
"""Steps a model unit that depth is rounded to when vertices compete for a pixel; far below any real distance."""


class VisualizationLayer(nn.Module):
    """Draws P as a map; no weights."""

    _normals: Tensor
    _mask: Tensor

    def __init__(self, model: MorphableModel, config: VisualizationConfig) -> None:
        super().__init__()
        vertices = spread_vertices(model.mean, config.vertices)
        self.shape = ShapeBasis(model, vertices)
        self.radius, self.sigma = config.radius, config.sigma
        mask = nose_mask(model, config.mask_sigma)[vertices]
        self.register_buffer("_normals", torch.from_numpy(model.normals[vertices].T.copy()), persistent=False)
        self.register_buffer("_mask", torch.from_numpy(mask), persistent=False)

    def forward(self, params: Tensor, size: int, stride: int) -> Tensor:
        """V of equation 9.

        Args:
            params: ``(B, 8 + K)`` float32, crop pixels.
            size: side of the map, pixels.
            stride: crop pixels a map pixel: 1 or 2; u₅₇ = (u₁₁₄ + 0.5)/2 − 0.5.

        Returns:
            ``(B, 1, size, size)`` float32; 0 where no vertex is near.
        """
        with exact_coordinates(params):
            return self._draw(params, size, stride)

    def _draw(self, params: Tensor, size: int, stride: int) -> Tensor:
        camera, coefficients = split_params(params)
        vertices = self.shape(coefficients)
        points = (project(vertices, camera) + 0.5) / stride - 0.5
        direction = viewing_direction(camera)
        g = (-(direction @ self._normals)).clamp_min(0)  # equation 8
        depth = (direction[:, None] @ vertices)[:, 0]
        winner, held = nearest_vertices(points.detach(), depth.detach(), g.detach() > 0, size)

        values = torch.stack([points[:, 0], points[:, 1], g * self._mask], dim=1)
        values = torch.gather(values, 2, winner[:, None].expand(-1, 3, -1))  # (B, 3, S·S)
        x, y, intensity = values.unbind(1)
        pixel = torch.arange(size * size, device=params.device)
        # Nearest vertices lie within half a pixel of their pixel's centre; zero offsets stand in where there is none.
        offset_x = torch.where(held, x - pixel % size, 0.0)
        offset_y = torch.where(held, y - pixel // size, 0.0)
        steps = torch.arange(-self.radius, self.radius + 1, device=params.device, dtype=params.dtype)
        weight_x = torch.exp((steps[:, None] - offset_x[:, None]).square() / (-2 * self.sigma**2))
        weight_y = torch.exp((steps[:, None] - offset_y[:, None]).square() / (-2 * self.sigma**2))
        weight_y = torch.where(held[:, None], weight_y, 0.0)
        w = weight_y[:, :, None] * weight_x[:, None]  # (B, 2R+1, 2R+1, S·S), equation 10
        both = torch.stack([w * intensity[:, None, None], w], dim=1).flatten(2, 3)
        sums = F.fold(both.flatten(1, 2), (size, size), kernel_size=2 * self.radius + 1, padding=self.radius)
        numerator, denominator = sums[:, :1], sums[:, 1:]
        return numerator / torch.where(denominator > 0, denominator, 1.0)


@torch.no_grad()
def nearest_vertices(points: Tensor, depth: Tensor, facing: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The vertex that each pixel keeps: of those facing the viewer in that pixel, the one of smallest depth.

    Args:
        points: ``(B, 2, Q)`` map pixels.
        depth: ``(B, Q)`` r₃·S, smaller is nearer; equal depths go to the lower vertex number.
        facing: ``(B, Q)`` bool.
        size: side of the map.

    Returns:
        vertex number ``(B, S·S)`` int64 (0 where there is none) and whether there is one ``(B, S·S)`` bool.
    """
    batch, q = depth.shape
    column, row = torch.round(points[:, 0]), torch.round(points[:, 1])
    # Compared as floats: a far-off point may not fit an integer.
    inside = facing & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    place = torch.where(inside, row * size + column, size * size).long()
    limit = 2.0**40
    order = (depth.double() * _DEPTH_STEPS).clamp(-limit, limit).round().long()
    key = order * (1 << 20) + torch.arange(q, device=depth.device)
    none = torch.iinfo(torch.int64).max
    best = torch.full((batch, size * size + 1), none, dtype=torch.int64, device=depth.device)
    best = best.scatter_reduce(1, place, key, "amin")[:, :-1]
    held = best != none
    return torch.where(held, best & ((1 << 20) - 1), 0), held


def nose_mask(model: MorphableModel, sigma: float) -> np.ndarray:
    """Equation 11 on the mean face, normalised to zero mean and unit deviation: ``(V,)`` float32.

    Args:
        sigma: σₙ as a share of the mean face's width between its outermost landmarks.
    """
    mean = model.mean.astype(np.float64)
    landmarks = mean[np.concatenate([*model.stored_landmarks.values()])]
    width = np.ptp(landmarks[:, 0])
    squared = ((mean - mean[model.nose_tip]) ** 2).sum(1)
    a = np.exp(-squared / (2 * (sigma * width) ** 2))
    return ((a - a.mean()) / a.std()).astype(np.float32)


def spread_vertices(mean: np.ndarray, count: int) -> np.ndarray:
    """``count`` well-spread vertices by farthest-point sampling, ascending; all of them if there are fewer."""
    if count >= len(mean):
        return np.arange(len(mean))
    points = mean.astype(np.float64)
    chosen = np.zeros(count, dtype=np.int64)
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        distance = np.minimum(distance, ((points - points[chosen[i - 1]]) ** 2).sum(1))
        chosen[i] = distance.argmax()
    return np.sort(chosen)
