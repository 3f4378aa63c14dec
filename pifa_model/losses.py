"""The two losses (equations 6 and 7), what may be added to them, and their scales against each other.

Equation 6's W:

- coefficients: the paper weighs coefficient k of model units by 1/σ_k; p is in standard deviations here, so the
  weight is σ_k. It is measured as the movement in crop pixels that one standard deviation gives a vertex (root mean
  square over the model, times the mean scale of the training rows), so that it does not depend on the model's unit.
- M: 1/r for the scaled rotation and 1 for the translation, r the ratio of their mean absolute values over the
  training rows.

Equation 7 is the mean over labelled points of Σ ρ(e), over the two coordinates e of a point's error in crop pixels,
with ρ(e) = e². In its place (``losses.landmark``) ρ may be

- ``smooth_l1``: e²/2 for |e| < 1, else |e| − 1/2 (Girshick, Fast R-CNN, ICCV 2015, equation 3);
- ``wing``: w ln(1 + |e|/ε) for |e| < w, else |e| − w + w ln(1 + w/ε), w = 10 and ε = 2 pixels (Feng et al., Wing
  Loss, CVPR 2018, equation 5 and its best values on AFLW),

each times the constant that gives it the slope of e² at 2 pixels, the size of an error of a coordinate after
training (3.7 % of a tight box of 80 pixels is 3 pixels of distance). So the gradients keep their size, and with it
the learning rate, the clipping and the weight against equation 6 theirs; only the share of large errors changes.

``losses.prior`` times the mean of p² is added to each block's loss, which is the Gaussian prior that p, in standard
deviations, has in the morphable model: the landmarks alone leave coefficients that they don't see free to grow.

Where the network tells each landmark's standard deviation, ``losses.spread`` times the mean negative log likelihood
of the error is added. The error is taken as it is: no gradient of this term reaches P. It is
Laplace's, as errors of landmarks have long tails: of b = σ/√2 a coordinate's is |e|/b + ln 2b.

Equation 6 has terms of several units (only the translation's is pixels squared) and is used as it comes, as in the
paper. Each block's loss is multiplied by its weight; the sum is divided by the sum of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel
from pifa_model.config import LossConfig
from pifa_model.shape import Landmarks
from pifa_model.statistics import ParameterStatistics

SLOPE_AT = 2.0
"""Pixels at which the landmark losses have the same slope; see above."""
WING_WIDTH, WING_CURVE = 10.0, 2.0
"""w and ε of the wing loss, pixels; see above."""


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


def landmark_penalty(error: Tensor, kind: Literal["squared", "smooth_l1", "wing"]) -> Tensor:
    """ρ of each coordinate's error, crop pixels, with the slope of the square at ``SLOPE_AT``."""
    if kind == "squared":
        return error.square()
    size = error.abs()
    if kind == "smooth_l1":
        return 2 * SLOPE_AT * F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
    # One branch's gradient of no use must still be finite: the logarithm's is, everywhere.
    near, far = (
        WING_WIDTH * torch.log1p(size / WING_CURVE),
        size - WING_WIDTH * (1 - math.log1p(WING_WIDTH / WING_CURVE)),
    )
    return 2 * SLOPE_AT * (WING_CURVE + SLOPE_AT) / WING_WIDTH * torch.where(size < WING_WIDTH, near, far)


def spread_likelihood(error: Tensor, spread: Tensor) -> Tensor:
    """Negative log likelihood of Laplace's distribution, both coordinates of a point together.

    Args:
        error: ``(B, L, 2)`` crop pixels; taken as it is, without gradient.
        spread: ``(B, L)`` log standard deviation, crop pixels.

    Returns:
        ``(B, L)``.
    """
    log_b = spread - 0.5 * math.log(2)
    return error.detach().abs().sum(2) * torch.exp(-log_b) + 2 * (log_b + math.log(2))


class AlignmentLoss(nn.Module):
    """The weighted sum of every block's loss."""

    weights: Tensor

    def __init__(self, config: LossConfig, parameter_weights: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("weights", parameter_weights, persistent=False)

    def forward(
        self,
        outputs: Sequence[Tensor],
        params: Tensor,
        landmarks: Tensor,
        visibility: Tensor,
        marching: Tensor,
        project: Landmarks,
        *,
        spread: Sequence[Tensor] = (),
        block: int | None = None,
    ) -> Tensor:
        """Loss of a batch.

        Args:
            outputs: P after each block, ``(B, 8 + K)``.
            params: ``(B, 8 + K)`` P̄, the fit.
            landmarks: ``(B, L, 2)`` Ū, the labels, crop pixels.
            visibility: ``(B, L)``; points of 0 take no part.
            marching: ``(B,)`` bool, faces of kind ``2d``.
            project: f(P).
            spread: log standard deviation of the landmarks after each block, ``(B, L)`` crop pixels; or nothing.
            block: the loss of this block alone, 0 the first; all if None.

        Returns:
            scalar float32.
        """
        known = visibility > 0
        labelled, count = known.float(), known.sum(1).clamp_min(1)
        config, blocks = self.config, range(len(self.config.blocks)) if block is None else [block]
        total = outputs[0].new_zeros(())
        for index in blocks:
            output, on_parameters = outputs[index], config.blocks[index] == "parameters"
            value = output.new_zeros(len(output))
            if not on_parameters or spread:
                error = torch.where(known[..., None], project(output, marching) - landmarks, 0.0)
            if on_parameters:
                # ΔP − ΔP̄ = (P + ΔP) − P̄
                value = value + ((output - params).square() * self.weights).sum(1)
            else:
                value = value + landmark_penalty(error, config.landmark).sum((1, 2)) / count
            if config.prior:
                value = value + config.prior * output[:, 8:].square().mean(1)
            if spread:
                value = value + config.spread * (spread_likelihood(error, spread[index]) * labelled).sum(1) / count
            total = total + config.weights[index] * value.mean()
        return total / float(np.sum([config.weights[index] for index in blocks]))


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
