"""The two losses (equations 6 and 7) and their scales against each other.

Equation 6's W:

- coefficients: the paper weighs coefficient k of model units by 1/σ_k; p is in standard deviations here, so the
  weight is σ_k. It is measured as the movement in crop pixels that one standard deviation gives a vertex (root mean
  square over the model, times the mean scale of the training rows), so that it does not depend on the model's unit.
- M: 1/r for the scaled rotation and 1 for the translation, r the ratio of their mean absolute values over the
  training rows.

Equation 7 is the mean over labelled points of the squared distance, in crop pixels squared. Equation 6 has terms of
several units (only the translation's is pixels squared) and is used as it comes, as in the paper. Each block's loss is
multiplied by its weight; the sum is divided by the sum of the weights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel
from pifa_model.config import LossConfig
from pifa_model.shape import Landmarks
from pifa_model.statistics import ParameterStatistics


def parameter_weights(statistics: ParameterStatistics, model: MorphableModel) -> np.ndarray:
    """The diagonal of W in equation 6.

    Args:
        statistics: of the training rows, crop pixels.
        model: the morphable model.

    Returns:
        ``(8 + K,)`` float32.
    """
    weights = np.ones(len(statistics.mean))
    weights[[0, 1, 2, 4, 5, 6]] = statistics.translation / statistics.rotation
    weights[8:] = statistics.scale * model.mode_sizes
    return weights.astype(np.float32)


class AlignmentLoss(nn.Module):
    """The weighted sum of every block's loss."""

    weights: Tensor

    def __init__(self, config: LossConfig, parameter_weights: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("weights", parameter_weights, persistent=False)

    def forward(
        self,
        outputs: list[Tensor],
        params: Tensor,
        landmarks: Tensor,
        visibility: Tensor,
        marching: Tensor,
        project: Landmarks,
    ) -> Tensor:
        """Loss of a batch.

        Args:
            outputs: P after each block, ``(B, 8 + K)``.
            params: ``(B, 8 + K)`` P̄, the fit.
            landmarks: ``(B, L, 2)`` Ū, the labels, crop pixels.
            visibility: ``(B, L)``; points of 0 take no part.
            marching: ``(B,)`` bool, faces of kind ``2d``.
            project: f(P).

        Returns:
            scalar float32.
        """
        labelled = (visibility > 0).float()
        count = labelled.sum(1).clamp_min(1)
        total = outputs[0].new_zeros(())
        for output, kind, weight in zip(outputs, self.config.blocks, self.config.weights, strict=True):
            if kind == "parameters":
                # ΔP − ΔP̄ = (P + ΔP) − P̄
                value = ((output - params).square() * self.weights).sum(1)
            else:
                squared = (project(output, marching) - landmarks).square().sum(2)
                value = (squared * labelled).sum(1) / count
            total = total + weight * value.mean()
        return total / float(np.sum(self.config.weights))


def relative_error(points: Tensor, landmarks: Tensor, visibility: Tensor) -> Tensor:
    """NME (tight) a face: ``(B,)``, percent; NaN for faces without a visible point.

    The curve watched while training; the same definition as in ``metrics.py``, on the device.
    """
    labelled, visible = (visibility > 0)[..., None], visibility == 2
    big = torch.finfo(points.dtype).max
    low = torch.where(labelled, landmarks, big).amin(1)
    high = torch.where(labelled, landmarks, -big).amax(1)
    size = (high - low).prod(1).clamp_min(1e-6).sqrt()
    error = torch.where(visible, (points - landmarks).norm(dim=2), 0.0).sum(1)
    return 100 * error / visible.sum(1) / size
