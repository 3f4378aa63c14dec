"""The calibrated score: the probability that a face is aligned.

What a network gives says much about whether it saw a face: on a face its last blocks hardly move the points, the shape
is a likely one, and the box that it was given is near the face. A logistic regression on these numbers, fitted on faces
that nobody trained on, in good and in hopeless boxes, and on crops without a face, gives the probability that the mean
error over the visible points is below ``ALIGNED`` percent of √(w·h) of the tight box. NumPy alone computes it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from pifa_data.boxes import box_size
from pifa_data.camera import pose_angles
from pifa_model.reliability import reliability
from pifa_model.results import CropResult

ALIGNED = 5.0
"""Percent of √(w·h) of the tight box: of a network that works, a mean error of 3 % is the rule and one above 5 % a face
that a person would draw again; of a wrong box or of no face nearly all are far beyond."""

FEATURES = ("moved", "moved_before", "moved_in_all", "shape", "size", "offset", "yaw", "pitch", "roll")
SPREAD = "expected"
"""One more, of networks with ``uncertainty``."""

FAILURE = 8.0
"""Percent of √(w·h) of the box: the expected error at which a score that is not calibrated is 0."""

STILL = 0.05
"""Percent of the box below which a movement is none: logarithms of less would tell nothing."""

PENALTY = 1.0
"""Weight of the squared weights, of standardised features, against the sum over crops: keeps those finite that a few
crops tell apart without an error."""


class Calibration(BaseModel):
    """What a checkpoint's header knows of its score.

    Attributes:
        threshold: percent of √(w·h) of the tight box; the score is the probability of a smaller error.
        blocks: that the network had; stopped earlier, its numbers are others and the score is not calibrated.
        features: names, as ``features_of`` gives them.
        weights, bias: of the features as they are.
        crops, people: that it was fitted on.
        brier, ece, auc: measured on people that the fit did not see, see ``reliability``; None of one person alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    threshold: Annotated[FiniteFloat, Field(gt=0, le=100)]
    blocks: Annotated[int, Field(ge=1, le=100)]
    features: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)]
    weights: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=20)]
    bias: FiniteFloat
    crops: Annotated[int, Field(ge=0)]
    people: Annotated[int, Field(ge=0)]
    brier: Annotated[float, Field(ge=0, le=1)] | None = None
    ece: Annotated[float, Field(ge=0, le=1)] | None = None
    auc: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _of_known_features(self) -> Calibration:
        if self.features not in (FEATURES, (*FEATURES, SPREAD)):
            raise ValueError(f"calibration of features that this program does not have; it has {', '.join(FEATURES)}")
        if len(self.weights) != len(self.features):
            raise ValueError(f"expected {len(self.features)} weights, found {len(self.weights)}")
        return self

    def suits(self, result: CropResult) -> bool:
        """Whether a result is of the network that it was fitted on, run to its end."""
        return len(result.params) == self.blocks + 1 and (SPREAD in self.features) == _has_spread(result)

    def score(self, result: CropResult, to_percent: float) -> np.ndarray:
        """The probability that each crop is aligned, ``(N,)`` 0 to 1.

        Args:
            result: of the whole network.
            to_percent: percent of √(w·h) of the box a crop pixel.
        """
        return _sigmoid(features_of(result, to_percent) @ np.array(self.weights) + self.bias)


def features_of(result: CropResult, to_percent: float) -> np.ndarray:
    """``(N, F)`` float64, one number for each of ``FEATURES``, and for ``SPREAD`` where there is one.

    Logarithms of how far the last block, the one before and all together moved the points on average, in percent of
    the box; the logarithm of mean p²; the square of the logarithm of the points' size against P⁰'s, and the distance of
    their middles in percent; the angles' magnitudes, radians; the logarithm of the expected error.
    """
    landmarks = result.landmarks.astype(np.float64)
    steps = to_percent * np.linalg.norm(np.diff(landmarks, axis=0), axis=3).mean(2)
    before = steps[-2] if len(steps) > 1 else steps[-1]
    ends = landmarks[[0, -1]]
    low, high = ends.min(2), ends.max(2)
    size = box_size(np.concatenate([low, np.maximum(high, low + 1e-6)], axis=-1))
    params = result.params[-1].astype(np.float64)
    angles = np.abs(pose_angles(params[:, :8].reshape(-1, 2, 4)))
    columns = [
        np.log(steps[-1] + STILL),
        np.log(before + STILL),
        np.log(steps.sum(0) + STILL),
        np.log((params[:, 8:] ** 2).mean(1) + 1e-3) if params.shape[1] > 8 else np.zeros(len(params)),
        np.log(size[1] / size[0]) ** 2,
        to_percent * np.linalg.norm((low + high)[1] - (low + high)[0], axis=1) / 2,
        *angles.T,
    ]
    if _has_spread(result):
        columns.append(np.log(to_percent * result.expected.astype(np.float64) + STILL))
    return np.stack(columns, axis=1)


def fit(features: np.ndarray, aligned: np.ndarray, people: np.ndarray, blocks: int) -> Calibration:
    """Fit the logistic regression, and measure it on people that it did not see: each half by a fit on the other.

    Args:
        features: ``(N, F)`` as of ``features_of``.
        aligned: ``(N,)`` bool, the error is below ``ALIGNED``.
        people: ``(N,)`` names.
        blocks: that the network has.

    Raises:
        ValueError: all crops are aligned, or none.
    """
    weights, bias = _regress(features, aligned)
    names = np.unique(people)
    half = np.isin(people, names[::2])
    measured = {}
    if all(0 < aligned[part].sum() < part.sum() for part in (half, ~half)):
        scores = np.empty(len(aligned))
        for part in (half, ~half):
            other, offset = _regress(features[~part], aligned[~part])
            scores[part] = _sigmoid(features[part] @ other + offset)
        found = reliability(scores, aligned)
        measured = {"brier": found.brier, "ece": found.ece, "auc": found.auc}
    return Calibration(
        threshold=ALIGNED,
        blocks=blocks,
        features=FEATURES if features.shape[1] == len(FEATURES) else (*FEATURES, SPREAD),
        weights=tuple(weights.tolist()),
        bias=bias,
        crops=len(aligned),
        people=len(names),
        **measured,
    )


def _regress(features: np.ndarray, aligned: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias of the features as they are, by penalised maximum likelihood."""
    from scipy.optimize import minimize  # slow to import, and only fitted with

    if not 0 < aligned.sum() < len(aligned):
        raise ValueError("expected crops that are aligned and crops that are not")
    mean, deviation = features.mean(0), features.std(0) + 1e-9
    x = np.concatenate([(features - mean) / deviation, np.ones((len(features), 1))], axis=1)
    sign = np.where(aligned, 1.0, -1.0)

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w)
        loss = np.logaddexp(0, -margin).sum() + PENALTY / 2 * (w[:-1] ** 2).sum()
        gradient = -x.T @ (sign * _sigmoid(-margin)) + PENALTY * np.append(w[:-1], 0)
        return float(loss), gradient

    w = minimize(cost, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    weights = w[:-1] / deviation
    return weights, float(w[-1] - weights @ mean)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))  # overflows nowhere


def _has_spread(result: CropResult) -> bool:
    return bool(np.isfinite(result.expected).all()) and len(result.expected) > 0


def scores(calibration: Calibration | None, result: CropResult, to_percent: float) -> np.ndarray:
    """The score of each crop, ``(N,)``: calibrated where there is a calibration that suits, else an old rule of thumb.

    Args:
        calibration: the checkpoint's, or None.
        result: of its network.
        to_percent: percent of √(w·h) of the box a crop pixel.
    """
    if calibration is not None and calibration.suits(result):
        return calibration.score(result, to_percent)
    moved = to_percent * np.linalg.norm(result.landmarks[-1] - result.landmarks[-2], axis=2).mean(1)
    expected = to_percent * result.expected
    return np.where(np.isnan(expected), 1 / (1 + moved), np.maximum(0.0, 1 - expected / FAILURE))
