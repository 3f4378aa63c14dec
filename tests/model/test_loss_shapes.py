"""What may stand in for the square of equation 7, and what may be added: by hand, by slope, by what must not matter."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from pifa_data.morphable import MorphableModel
from pifa_model.config import LossConfig
from pifa_model.losses import SLOPE_AT, AlignmentLoss, landmark_penalty, spread_likelihood
from pifa_model.shape import Landmarks

Kind = Literal["squared", "smooth_l1", "wing"]
KINDS: tuple[Kind, ...] = ("squared", "smooth_l1", "wing")
# Smooth L1 has slope 1 at 2 pixels, the wing 10/(2 + 2) = 2.5; the square 4.
BY_HAND = {
    "squared": {0.5: 0.25, 2.0: 4.0, 12.0: 144.0},
    "smooth_l1": {0.5: 4 * 0.125, 2.0: 4 * 1.5, 12.0: 4 * 11.5},
    "wing": {0.5: 1.6 * 10 * math.log(1.25), 2.0: 1.6 * 10 * math.log(2), 12.0: 1.6 * (2 + 10 * math.log(6))},
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_by_hand_on_both_sides(kind: Kind) -> None:
    errors = torch.tensor(list(BY_HAND[kind]), dtype=torch.float64)
    expected = torch.tensor(list(BY_HAND[kind].values()), dtype=torch.float64)
    torch.testing.assert_close(landmark_penalty(errors, kind), expected)
    torch.testing.assert_close(landmark_penalty(-errors, kind), expected)
    assert float(landmark_penalty(torch.zeros(1), kind)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_agree_where_errors_are_after_training(kind: Kind) -> None:
    error = torch.tensor(SLOPE_AT, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(landmark_penalty(error, kind), error)
    assert float(slope) == pytest.approx(2 * SLOPE_AT)


@pytest.mark.parametrize(("kind", "knee"), [("smooth_l1", 1.0), ("wing", 10.0)])
def test_the_branches_meet(kind: Kind, knee: float) -> None:
    below, above = landmark_penalty(torch.tensor([knee - 1e-9, knee + 1e-9], dtype=torch.float64), kind)
    assert float(above - below) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: Kind) -> None:
    # Away from 0 and from the knees, where the second branch begins.
    errors = torch.tensor([-14.0, -9.0, -2.0, -0.4, 0.3, 1.7, 8.0, 30.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: landmark_penalty(e, kind), errors)


def test_spread_by_hand_and_least_where_it_is_true() -> None:
    error = torch.tensor([[[3.0, -4.0]]], dtype=torch.float64, requires_grad=True)
    # b = 2: (3 + 4)/2 + 2 ln(2·2)
    spread = torch.tensor([[math.log(2 * math.sqrt(2))]], dtype=torch.float64, requires_grad=True)
    value = spread_likelihood(error, spread)
    assert float(value.detach()) == pytest.approx(3.5 + 2 * math.log(4))
    value.sum().backward()
    assert error.grad is None, "how sure it is must not change where the points are"
    assert torch.autograd.gradcheck(lambda s: spread_likelihood(error.detach(), s), spread)
    # Over many errors it is least at the standard deviation they were drawn with.
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (200_000, 1, 2), generator=generator) * 2 - 1
    b = 1.7
    drawn = -b * torch.log(torch.rand(200_000, 1, 2, generator=generator, dtype=torch.float64)) * signs
    grid = torch.linspace(0.5, 1.5, 201, dtype=torch.float64)
    means = torch.stack([spread_likelihood(drawn, s.expand(200_000, 1)).mean() for s in grid])
    assert float(grid[means.argmin()]) == pytest.approx(math.log(b * math.sqrt(2)), abs=0.01)


class Case:
    """Two faces of the synthetic head, every landmark 3 pixels to the right and 4 below, p of ones."""

    def __init__(self, model: MorphableModel) -> None:
        self.project = Landmarks(model, "ibug68")
        self.target = torch.zeros(2, 8 + model.n_coefficients)
        self.target[:, :8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
        self.target[:, 8:] = 1
        self.marching = torch.zeros(2, dtype=torch.bool)
        self.labels = self.project(self.target, self.marching)
        self.visibility = torch.full((2, 68), 2)
        self.output = self.target.clone()
        self.output[:, 3] += 3
        self.output[:, 7] += 4

    def loss(self, config: LossConfig, outputs: list[torch.Tensor], **more: object) -> torch.Tensor:
        module = AlignmentLoss(config, torch.full((self.target.shape[1],), 2.0))
        return module(outputs, self.target, self.labels, self.visibility, self.marching, self.project, **more)


def test_prior_and_one_block_alone(model: MorphableModel) -> None:
    case = Case(model)
    config = LossConfig(blocks=("landmarks", "parameters"), weights=(1, 3), prior=0.5)
    doubled = case.output.clone()
    doubled[:, 8:] = 2
    # Mean p² of 1, then of 4; moving the landmarks by coefficients is no part of equation 6.
    first, second = 25 + 0.5, 2 * (25 + model.n_coefficients) + 0.5 * 4
    assert float(case.loss(config, [case.output, doubled])) == pytest.approx((first + 3 * second) / 4, rel=1e-4)
    assert float(case.loss(config, [case.output], block=0)) == pytest.approx(first, rel=1e-4)
    assert float(case.loss(config, [case.output, doubled], block=1)) == pytest.approx(second, rel=1e-4)


def test_spread_is_learnt_of_every_block_and_moves_no_point(model: MorphableModel) -> None:
    case = Case(model)
    outputs = [case.output.clone().requires_grad_(), case.target.clone().requires_grad_()]
    spread = [torch.zeros(2, 68, requires_grad=True), torch.zeros(2, 68, requires_grad=True)]
    config = LossConfig(blocks=("parameters", "landmarks"), weights=(1, 1), spread=0.2)
    plain = torch.autograd.grad(case.loss(config, outputs), outputs)
    loss = case.loss(config, outputs, spread=spread)
    found = torch.autograd.grad(loss, [*outputs, *spread])
    for a, b in zip(plain, found[:2], strict=True):
        assert torch.equal(a, b)
    # d/ds of |e|/b + 2 ln b at σ = 1: 2 − √2·7 where points are off by (3, 4), 2 where they are right.
    share = 0.2 / 2 / 2 / 68
    torch.testing.assert_close(found[2], torch.full((2, 68), share * (2 - 7 * math.sqrt(2))), rtol=1e-3, atol=0)
    torch.testing.assert_close(found[3], torch.full((2, 68), share * 2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_are_not_labelled_enter_nothing(model: MorphableModel, kind: Kind) -> None:
    case = Case(model)
    case.visibility[0, 3:] = 0
    case.labels = case.labels.clone()
    case.labels[0, 3:] = float("nan")
    case.visibility[1] = 0
    case.labels[1] = 1e30
    output = case.output.clone().requires_grad_()
    spread = torch.zeros(2, 68, requires_grad=True)
    config = LossConfig(blocks=("landmarks",), weights=(1,), landmark=kind)
    loss = case.loss(config, [output], spread=[spread])
    # Three points of one face of two.
    errors = landmark_penalty(torch.tensor([3.0, 4.0]), kind).sum()
    likelihood = 0.1 * (7 * math.sqrt(2) + 2 * math.log(math.sqrt(2)))
    assert float(loss.detach()) == pytest.approx((float(errors) + likelihood) / 2, rel=1e-3)
    loss.backward()
    assert output.grad is not None
    assert spread.grad is not None
    assert torch.isfinite(output.grad).all()
    assert not output.grad[1].any()
    assert not spread.grad[1].any()
    assert not spread.grad[0, 3:].any()
    assert spread.grad[0, :3].all()
