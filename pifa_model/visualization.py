"""The visualization layer (section 3.3, equations 8-11): the current face drawn as a map of its frontability.

    g = max(0, −r₃·N₀)                            (8; r₃ points into the scene here, see docs/method.md)
    V(u, v) = Σ_{q∈D(u,v)} g(q) a(q) w / Σ w      (9)
    w = exp(−((u − x_q)² + (v − y_q)²) / 2σ²)     (10)

with the mask a of ``masks.py``. A vertex takes part if it faces the viewer (g > 0) and is the nearest of those that
project into its pixel; ``spreading.py`` has the sums. Gradients reach M and p through x, y and g; which vertices take
part is a constant of the step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel
from pifa_model.config import VisualizationConfig
from pifa_model.masks import drawn_vertices, vertex_mask
from pifa_model.shape import ShapeBasis, check_params, exact_coordinates, split_params, viewing_direction
from pifa_model.spreading import DEPTH_STEPS, Grid, spread


class VisualizationLayer(nn.Module):
    """Draws P as a map; no weights."""

    _frontward: Tensor
    _mask: Tensor

    def __init__(self, model: MorphableModel, config: VisualizationConfig) -> None:
        """Raises MorphableError if the mask needs landmarks that the model has not."""
        super().__init__()
        vertices = drawn_vertices(model, config.vertices)
        self.shape = ShapeBasis(model, vertices)
        self.radius, self.sigma = config.radius, config.sigma
        # −N₀: r₃ points into the scene.
        self.register_buffer("_frontward", torch.from_numpy(-model.normals[vertices].T.copy()), persistent=False)
        mask = vertex_mask(model, config)[vertices]
        self.register_buffer("_mask", torch.from_numpy(mask), persistent=False)

    def forward(self, params: Tensor, size: int, stride: int) -> Tensor:
        """V of equation 9.

        Args:
            params: ``(B, 8 + K)`` float32 (float64 if the layer is), crop pixels. Whether it is finite is not asked
                here: on a GPU the answer would stop the queue at every block. A face whose P is not finite is drawn as
                zeros and touches no other face; ``check_params`` asks where P comes from outside.
            size: side of the map, pixels.
            stride: crop pixels a map pixel: 1 for block 1, later `network.stride`; u = (u₁₁₄ + 0.5)/stride − 0.5.

        Returns:
            ``(B, 1, size, size)`` of the same type; 0 where no vertex is near.

        Raises:
            ValueError: params of another shape or type.
        """
        check_params(params, self.shape.basis)
        with exact_coordinates(params):
            camera, coefficients = split_params(params)
            direction = viewing_direction(camera)
            # x, y and depth in one product. Depth is multiplied by a power of two, so it loses nothing.
            shift = 0.5 / stride - 0.5
            depth = F.pad(direction.detach() * DEPTH_STEPS, (0, 1), value=-shift)
            rows = torch.cat([camera / stride, depth[:, None]], 1)
            points = torch.baddbmm(rows[..., 3:] + shift, rows[..., :3], self.shape(coefficients))
            g = direction @ self._frontward  # equation 8; below 0 nothing is drawn
            facing, g = g > 0, g * self._mask
            return spread(points, g, facing, Grid(size, self.radius, self.sigma))
